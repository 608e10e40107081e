"""What a run reports, and to whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

EventKind = Literal["state", "config", "progress", "metrics", "log", "component"]


class Reporter(Protocol):
    """Takes what happens in a run. Kinds and their data:

    `state` {"state"} · `config` the plan, once an attempt · `progress` {"epoch", "epochs", "step", "steps",
    "images_per_s", "eta_s"} · `metrics` {"step", "values": {key: value}} · `log` {"level", "message"} · `component`
    a component's manifest.
    """

    def emit(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        """Reports one event."""

    def close(self) -> None:
        """Flushes; called once, at the end of an attempt."""


class NullReporter:
    """Reports to nobody."""

    def emit(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        return

    def close(self) -> None:
        return


class Fanout:
    """Several reporters as one."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = tuple(reporters)

    def emit(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        for reporter in self._reporters:
            reporter.emit(kind, data)

    def close(self) -> None:
        for reporter in self._reporters:
            reporter.close()
