"""Detects losses, gradients and outputs that are not finite, and names where they occurred first."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from core.reporting.alerts import Alert

# Losses in the order of the forward pass, and the component that a non-finite one comes from.
_LOSSES = (("individual", "experts"), ("global", "fusion"))
# Gradients in the order of the backward pass.
_GRADIENTS = ("head", "expert_heads", "fusion", "experts")


class NonFiniteLossError(RuntimeError):
    """A loss, gradient or validation output is not finite.

    `step` is the first such step and `component` where it occurred: a component, or a path such as `expert_1`.
    """

    def __init__(self, step: int, component: str, quantity: str) -> None:
        self.step = step
        self.component = component
        super().__init__(
            f"training stopped: {quantity} was not finite at step {step}; first non-finite values: {component}. "
            "Earlier checkpoints and components are kept. Use a smaller learning rate or clip_norm for that component"
        )

    def alert(self) -> Alert:
        """The alert that goes with this error."""
        title = "Training stopped: values are not finite"
        return Alert("loss_not_finite", title, str(self), level="error", subject=self.component, step=self.step)


class NonFiniteDetector:
    """Records on the device the first step at which each loss and each component's gradient was not finite."""

    def __init__(self, device: torch.device) -> None:
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
                raise NonFiniteLossError(first_step, component, f"the {loss} loss")
        component = next(name for name in _GRADIENTS if name in at_first_step)
        raise NonFiniteLossError(first_step, component, f"the gradient of {component}")
