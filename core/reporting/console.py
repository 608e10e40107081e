"""Progress of a run on the console: a progress bar on a terminal, otherwise one line per epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from core.reporting.protocol import EventKind

_SHOWN = (("loss", "train/loss_total"), ("fused", "val/accuracy_fused"), ("expert_0", "val/accuracy_expert_0"))


class ConsoleReporter:
    """Prints progress, messages and the warnings of the plan."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._values: dict[str, float] = {}
        self._printed_epoch = -1
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}"), console=console
            )
            self._task = self._bar.add_task("starting", total=None, status="")
            self._bar.start()

    def emit(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        if kind == "metrics":
            self._values.update(data["values"])
        elif kind == "progress":
            self._print_progress(data)
        elif kind in ("log", "alert"):
            self._print(f"{data['level']}: {data['message']}")
        elif kind == "config":
            for warning in data.get("warnings", ()):
                self._print(f"warning: {warning}")

    def close(self) -> None:
        if self._bar:
            self._bar.stop()

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _print_progress(self, data: Mapping[str, Any]) -> None:
        epoch, epochs = data["epoch"], data["epochs"]
        status = "  ".join([*self._scores(), *_speed(data)])
        if self._bar:
            self._bar.update(
                self._task,
                total=data["steps"],
                completed=data["step"],
                description=f"epoch {epoch}/{epochs}",
                status=status,
            )
        elif epoch != self._printed_epoch:
            self._printed_epoch = epoch
            self._print(f"epoch {epoch}/{epochs}  step {data['step']}/{data['steps']}  {status}")

    def _scores(self) -> list[str]:
        return [f"{name} {self._values[key]:.3f}" for name, key in _SHOWN if key in self._values]


def _speed(data: Mapping[str, Any]) -> list[str]:
    parts = []
    if data["images_per_s"]:
        parts.append(f"{data['images_per_s']:,.0f} img/s")
    if data["eta_s"] and data["step"] < data["steps"]:
        parts.append(f"{format_duration(data['eta_s'])} left")
    return parts


def format_duration(seconds: float) -> str:
    """A duration such as `1h 05m`, `2m 03s` or `40s`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {whole % 60:02d}s" if minutes else f"{whole}s"
