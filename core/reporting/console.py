"""What a person sees of a run: a progress bar on a terminal, plain lines elsewhere, and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from core.reporting.protocol import EventKind


class ConsoleReporter:
    """Shows a run as it goes. Off a terminal it prints a line an epoch, and one a minute or so in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._values: dict[str, float] = {}
        self._printed_epoch = -1
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), console=console
            )
            self._task = self._bar.add_task("starting", total=None, said="")
            self._bar.start()

    def emit(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        if kind == "metrics":
            self._values.update(data["values"])
        elif kind == "progress":
            self._progress(data)
        elif kind == "log":
            self._console.print(f"{data['level']}: {data['message']}", markup=False, highlight=False)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()

    def _progress(self, data: Mapping[str, Any]) -> None:
        epoch, epochs = data["epoch"], data["epochs"]
        said = "  ".join([*self._scores(), *_pace(data)])
        if self._bar:
            self._bar.update(
                self._task,
                total=data["steps"],
                completed=data["step"],
                description=f"epoch {epoch}/{epochs}",
                said=said,
            )
        elif epoch != self._printed_epoch:
            self._printed_epoch = epoch
            self._console.print(
                f"epoch {epoch}/{epochs}  step {data['step']}/{data['steps']}  {said}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def _scores(self) -> list[str]:
        shown = (("loss", "train/loss_total"), ("fused", "val/accuracy_fused"), ("expert_0", "val/accuracy_expert_0"))
        return [f"{name} {self._values[key]:.3f}" for name, key in shown if key in self._values]


def _pace(data: Mapping[str, Any]) -> list[str]:
    said = []
    if data["images_per_s"]:
        said.append(f"{data['images_per_s']:,.0f} img/s")
    if data["eta_s"] and data["step"] < data["steps"]:
        said.append(f"{duration(data['eta_s'])} left")
    return said


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {whole % 60:02d}s" if minutes else f"{whole}s"


def metrics_table(metrics: Mapping[str, float], absent: Mapping[str, str]) -> Table:
    """Final measures, and what could not be measured and why."""
    table = Table("measure", "value", title="Measured on the test set")
    for key in sorted(metrics):
        table.add_row(key.removeprefix("test/"), f"{metrics[key]:.4f}")
    for key in sorted(absent):
        table.add_row(key.removeprefix("test/"), f"not measured: {absent[key]}")
    return table


def plan_table(plan: Mapping[str, Any]) -> Table:
    """A plan, as `plan` prints it for a person."""
    table = Table("", "", title=f"Plan of a {plan['kind']} job", show_header=False)
    data = plan["dataset"]
    about = "" if data["exact"] else "about "
    table.add_row(
        "data",
        f"{data['name']}: {about}{data['train']:,} to train, {data['val']:,} to validate, {data['test']:,} to test; "
        f"{data['classes']} classes, {data['channels']} x {data['image_size']} x {data['image_size']}",
    )
    adapters = f"; adapters for {', '.join(plan['adapters'])}" if plan["adapters"] else ""
    table.add_row("features", f"{plan['feature_dims']} -> D = {plan['input_dim']}{adapters}")
    table.add_row("parameters", ", ".join(f"{name} {count:,}" for name, count in plan["parameters"].items()))
    for name, rate in plan["learning_rates"].items():
        policy = plan["policies"][name]
        said = "frozen" if policy["frozen"] else _policy(rate, plan["learning_rates_why"][name], policy)
        table.add_row(name, said if policy["frozen"] else f"{said}\n{plan['schedules'][name]}")
    table.add_row("augmentation", ", ".join(f"{key} {value}" for key, value in plan["augmentation"].items()))
    for line in plan["augmentation_left_out"]:
        table.add_row("", line)
    if plan["expected_accuracy"] and data["name"] == "cifar100":
        low, high = plan["expected_accuracy"]["cifar100_augmented"]
        table.add_row("expected", f"{low}-{high} % on CIFAR-100 by the recipe's author: an expectation, not a result")
    table.add_row(
        "steps",
        f"{plan['steps']:,} ({plan['epochs']} epochs of {plan['steps_per_epoch']:,}), batch {plan['batch_size']}",
    )
    table.add_row("checkpoint", f"about {plan['checkpoint_bytes'] / 1e6:,.1f} MB each")
    table.add_row("activations", f"about {plan['activation_bytes'] / 1e6:,.1f} MB a batch in float32")
    return table


def _policy(rate: float, why: str, policy: Mapping[str, Any]) -> str:
    clip = f"clip {policy['clip_norm']:g}" if policy["clip_norm"] else "no clip"
    return (
        f"{policy['optimizer']} lr {rate:g} ({why}), weight decay {policy['weight_decay']:g}, {clip}, "
        f"a step every {policy['accumulation_steps']} batches"
    )
