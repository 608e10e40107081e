"""What the demo measured: a table, and a sentence about what fusion brought that is computed from the numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

Metrics = Mapping[str, float | None]

FUSED = "test/accuracy_fused"
SINGLE = "one network on all the data"
# Row of the table -> metric.
ENSEMBLES = {
    "ensemble (mean probabilities)": "test/accuracy_ensemble_probabilities",
    "ensemble (mean logits)": "test/accuracy_ensemble_logits",
}
# Two-sided 95 % quantile of the normal distribution.
Z_95 = 1.96


@dataclass(frozen=True)
class Report:
    """Test metrics of the three jobs that fuse experts, all measured on the same `num_images` images.

    `single` is one network of the experts' kind on all the data, `frozen` is fusion of frozen experts, `control` one
    frozen expert (number `control_expert`) with an MLP of its own, `joint` the joint training of experts, fusion and
    head.
    """

    single: Metrics
    frozen: Metrics
    control: Metrics
    joint: Metrics
    num_experts: int
    control_expert: int
    num_images: int

    def table(self) -> Table:
        """Accuracies before fusion, with frozen experts and after joint training."""
        table = Table("", "before", "frozen experts", "joint training", title="Test accuracy over all ten digits")
        for k in range(self.num_experts):
            key = f"test/accuracy_expert_{k}"
            before = _format(self.frozen.get(f"{key}_before"))
            table.add_row(f"expert {k}", before, _format(self.frozen.get(key)), _format(self.joint.get(key)))
        for name, key in ENSEMBLES.items():
            table.add_row(name, "", _format(self.frozen.get(key)), _format(self.joint.get(key)))
        table.add_row(self._control_name, "", _format(self.control.get(FUSED)), "")
        table.add_row(SINGLE, "", *[_format(self.single.get("test/accuracy_expert_0"))] * 2)
        table.add_row("fused", "", _format(self.frozen.get(FUSED)), _format(self.joint.get(FUSED)), style="bold")
        return table

    @property
    def _control_name(self) -> str:
        return f"expert {self.control_expert} with its own MLP"

    def summary(self) -> str:
        """What fusion brought with frozen experts and after joint training, each against its best control.

        One network on all the data comes last: it needs the data in one place, which the experts do not.
        """
        frozen = self._controls(self.frozen) | {self._control_name: _value(self.control, FUSED)}
        return (
            f"With frozen experts, {self._compare(_value(self.frozen, FUSED), frozen)}. "
            f"After joint training, {self._compare(_value(self.joint, FUSED), self._controls(self.joint))}. "
            f"{self._compare_with_single()}."
        )

    def _compare_with_single(self) -> str:
        single = _value(self.single, "test/accuracy_expert_0")
        frozen, joint = (
            verdict(_value(metrics, FUSED), single, "it", self.num_images) for metrics in (self.frozen, self.joint)
        )
        return f"O{SINGLE[1:]} reached {single:.3f}: with frozen experts {frozen}; after joint training {joint}"

    def _controls(self, metrics: Metrics) -> dict[str, float]:
        experts = [_value(metrics, f"test/accuracy_expert_{k}") for k in range(self.num_experts)]
        controls = {"the best expert alone": max(experts)}
        ensembles = [value for key in ENSEMBLES.values() if (value := metrics.get(key)) is not None]
        return controls | ({"the ensemble": max(ensembles)} if ensembles else {})

    def _compare(self, fused: float, controls: Mapping[str, float]) -> str:
        reached = [f"{name} {accuracy:.3f}" for name, accuracy in controls.items()]
        best = max(controls, key=lambda name: controls[name])
        return (
            f"the fused model reached {fused:.3f}; {_join(reached)}: "
            f"{verdict(fused, controls[best], best, self.num_images)}"
        )


def verdict(fused: float, control: float, control_name: str, num_images: int) -> str:
    """Whether two accuracies, measured on `num_images` images each, differ by more than binomial noise (95 %)."""
    difference = fused - control
    noise = Z_95 * math.sqrt((fused * (1 - fused) + control * (1 - control)) / num_images)
    if abs(difference) <= noise:
        scale = f"difference {difference:+.3f} to {control_name}, within ±{noise:.3f} of noise, n = {num_images} images"
        return f"fusion brought nothing measurable ({scale})"
    if difference > 0:
        return f"fusion brought {difference:+.3f} over {control_name}"
    return f"fusion lost {-difference:.3f} against {control_name}"


def _join(parts: list[str]) -> str:
    return " and ".join(", ".join(part) for part in (parts[:-1], parts[-1:]) if part)


def _value(metrics: Metrics, key: str) -> float:
    value = metrics[key]
    assert value is not None, f"{key} was not measured"
    return value


def _format(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
