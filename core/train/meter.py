"""Means over an interval, and the watch for numbers that are not finite: kept on the device, read once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Where a number that is not finite shows first, in the order in which a forward pass meets them.
_FORWARD = (("individual", "experts"), ("global", "fusion"))
_BACKWARD = ("head", "fusion", "experts")


class NonFiniteLossError(RuntimeError):
    """The loss or a gradient stopped being a finite number; `step` and `component` say when and where first."""

    def __init__(self, step: int, component: str, what: str) -> None:
        self.step = step
        self.component = component
        super().__init__(
            f"training stopped: {what} was not finite at step {step}, and {component} went bad first. "
            "What was saved before is kept. Try a smaller learning rate or clip_norm for that component."
        )


class Meter:
    """Sums named scalars on the device; `read` gives their means since the last read in one synchronisation."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Adds one step's values: scalars on the device."""
        for key, value in values.items():
            value = value.detach().double()
            self._sums[key] = self._sums[key] + value if key in self._sums else value
            self._counts[key] = self._counts.get(key, 0) + 1

    def read(self) -> dict[str, float]:
        """The means, and a fresh start."""
        if not self._sums:
            return {}
        values = torch.stack(list(self._sums.values())).tolist()
        means = {key: value / self._counts[key] for key, value in zip(self._sums, values, strict=True)}
        self._sums.clear()
        self._counts.clear()
        return means

    def state_dict(self) -> dict[str, Any]:
        """What an interval has gathered so far."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with an interval."""
        self._sums = {key: value.to(self._device) for key, value in state["sums"].items()}
        self._counts = dict(state["counts"])


class Watch:
    """Remembers on the device the first step at which each loss and each component's gradient was not finite."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._first: dict[str, Tensor] = {}
        self._never = torch.tensor(-1, dtype=torch.int64, device=device)

    def add(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Looks at one step's losses (`global`, `individual`) and gradient norms (by component)."""
        for key, value in values.items():
            first = self._first.get(key, self._never)
            self._first[key] = torch.where((first < 0) & ~torch.isfinite(value.detach()), step, first)

    def check(self) -> None:
        """Raises NonFiniteLossError if anything went bad since the start; synchronises."""
        if not self._first:
            return
        steps = dict(zip(self._first, torch.stack(list(self._first.values())).tolist(), strict=True))
        bad = {key: step for key, step in steps.items() if step >= 0}
        if not bad:
            return
        step = min(bad.values())
        now = {key for key, first in bad.items() if first == step}
        for loss, component in _FORWARD:
            if loss in now:
                raise NonFiniteLossError(step, component, f"the {loss} loss")
        component = next(name for name in _BACKWARD if name in now)
        raise NonFiniteLossError(step, component, f"the gradient of {component}")
