"""Detects losses, gradients and outputs that are not finite, and names where they occurred first."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from core.reporting.alerts import Alert
from core.spec import GroupName

# Losses in the order of the forward pass, and the component that a non-finite one comes from.
_LOSSES = (("individual", "experts"), ("global", "fusion"))
# Gradients in the order of the backward pass.
_GRADIENTS = ("head", "expert_heads", "fusion", "experts")


class NonFiniteLossError(RuntimeError):
    """A loss, gradient or validation output is not finite.

    `step` is the first such step and `component` where it was seen: a component, or a path such as `expert_1`. That is
    not always the cause: weights that exploded in one component make the outputs of all that follow it non-finite, and
    the next step those of every component. The message has the learning rates instead of a guess.
    """

    def __init__(
        self,
        step: int,
        component: str,
        quantity: str,
        *,
        rates: Mapping[GroupName, float] | None = None,
        is_float32: bool = False,
    ) -> None:
        self.step = step
        self.component = component
        listed = ", ".join(f"{name} {rate:g}" for name, rate in (rates or {}).items())
        advice = "smaller learning rates or a clip_norm" + ("" if is_float32 else ", or precision float32")
        super().__init__(
            f"training stopped: {quantity} was not finite at step {step}; first non-finite values: {component}, "
            f"which need not be the cause. {f'Learning rates: {listed}. ' if listed else ''}"
            f"Earlier checkpoints and components are kept. Use {advice}"
        )

    def alert(self) -> Alert:
        """The alert that goes with this error."""
        title = "Training stopped: values are not finite"
        return Alert("loss_not_finite", title, str(self), level="error", subject=self.component, step=self.step)


class NonFiniteDetector:
    """Records on the device the first step at which each loss and each component's gradient was not finite.

    `rates` are the learning rates that an error names.
    """

    def __init__(
        self,
        device: torch.device,
        rates: Callable[[], Mapping[GroupName, float]] = dict,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self._rates = rates
        self._is_float32 = precision == torch.float32
        self._device = device
        self._first: dict[str, Tensor] = {}
        self._never = torch.tensor(-1, dtype=torch.int64, device=device)

    def add(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Examines the losses (`global`, `individual`) and gradient norms (by component) of one step."""
        for key, value in values.items():
            first = self._first.get(key, self._never)
            self._first[key] = torch.where((first < 0) & ~torch.isfinite(value.detach()), step, first)

    def check(self) -> None:
        """Raises NonFiniteLossError if any value was not finite; synchronises."""
        if not self._first:
            return
        steps = dict(zip(self._first, torch.stack(list(self._first.values())).tolist(), strict=True))
        non_finite = {key: step for key, step in steps.items() if step >= 0}
        if not non_finite:
            return
        first_step = min(non_finite.values())
        at_first_step = {key for key, step in non_finite.items() if step == first_step}
        for loss, component in _LOSSES:
            if loss in at_first_step:
                raise self.error(first_step, component, f"the {loss} loss")
        component = next(name for name in _GRADIENTS if name in at_first_step)
        raise self.error(first_step, component, f"the gradient of {component}")

    def error(self, step: int, component: str, quantity: str) -> NonFiniteLossError:
        """The error about a quantity that is not finite."""
        return NonFiniteLossError(step, component, quantity, rates=self._rates(), is_float32=self._is_float32)
