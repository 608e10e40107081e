"""What the demo measured: a table, and sentences about what fusion brought that follow from the numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from app.results.predictions.wording import LEVEL, p_text, signed_points

Metrics = Mapping[str, float | None]
# The difference of two paths of jobs, such as `job_1:fused`, on the same images, as `GET /compare` has it.
Compare = Callable[[str, str], Mapping[str, Any]]

FUSED = "test/accuracy_fused"
SINGLE = "one network on all the data"
# Row of the table -> metric.
ENSEMBLES = {
    "ensemble (mean probabilities)": "test/accuracy_ensemble_probabilities",
    "ensemble (mean logits)": "test/accuracy_ensemble_logits",
}


@dataclass(frozen=True)
class Report:
    """Test metrics of the four jobs that the table has, all measured on the same images, and their ids by field.

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
    ids: Mapping[str, str]
    compare: Compare

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
        own_mlp = _Control(self._control_name, _value(self.control, FUSED), f"{self.ids['control']}:fused")
        single = _value(self.single, "test/accuracy_expert_0")
        against = {name: self._verdict(name, f"{self.ids['single']}:expert_0", "it") for name in ("frozen", "joint")}
        return (
            f"With frozen experts, {self._against_best('frozen', [own_mlp])}.\n"
            f"After joint training, {self._against_best('joint', [])}.\n"
            f"O{SINGLE[1:]} reached {single:.3f}: with frozen experts {against['frozen']}; "
            f"after joint training {against['joint']}."
        )

    def _against_best(self, phase: str, others: list[_Control]) -> str:
        metrics: Metrics = getattr(self, phase)
        controls = [*self._controls(phase, metrics), *others]
        best = max(controls, key=lambda control: control.accuracy)
        reached = [f"{control.name} {control.accuracy:.3f}" for control in controls]
        fused = _value(metrics, FUSED)
        return f"the fused model reached {fused:.3f}; {_join(reached)}: {self._verdict(phase, best.path, best.name)}"

    def _controls(self, phase: str, metrics: Metrics) -> list[_Control]:
        """The best expert and the better ensemble of a job."""
        experts = {f"expert_{k}": _value(metrics, f"test/accuracy_expert_{k}") for k in range(self.num_experts)}
        ensembles = {
            key.removeprefix("test/accuracy_"): value
            for key in ENSEMBLES.values()
            if (value := metrics.get(key)) is not None
        }
        controls = []
        for name, paths in (("the best expert alone", experts), ("the ensemble", ensembles)):
            if paths:
                path = max(paths, key=lambda path: paths[path])
                controls.append(_Control(name, paths[path], f"{self.ids[phase]}:{path}"))
        return controls

    def _verdict(self, phase: str, control: str, control_name: str) -> str:
        return verdict(self.compare(f"{self.ids[phase]}:fused", control), control_name)


@dataclass(frozen=True)
class _Control:
    name: str
    accuracy: float
    path: str


def verdict(difference: Mapping[str, Any], control_name: str) -> str:
    """Whether fusion pays, from the paired difference of the fused accuracy from that of a control."""
    value, low, high = (signed_points(difference[name]) for name in ("value", "low", "high"))
    evidence = f"95 % interval {low} to {high}, {p_text(difference['p'])}"
    if not difference["excludes_zero"] or difference["p"] >= LEVEL:
        return f"fusion brought nothing measurable ({value} points against {control_name}, {evidence})"
    if difference["value"] > 0:
        return f"fusion brought {value} points over {control_name} ({evidence})"
    return f"fusion lost {value.removeprefix('-')} points against {control_name} ({evidence})"


def _join(parts: list[str]) -> str:
    return " and ".join(", ".join(part) for part in (parts[:-1], parts[-1:]) if part)


def _value(metrics: Metrics, key: str) -> float:
    value = metrics[key]
    assert value is not None, f"{key} was not measured"
    return value


def _format(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
