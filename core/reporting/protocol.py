"""The events that a run reports, and the interface of reporters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

EventKind = Literal[
    "state", "config", "progress", "metrics", "log", "alert", "component", "identity", "checkpoint", "activity"
]


class Reporter(Protocol):
    """Receives the events of a run. Kinds and their data:

    `state` {"state"} · `config` the plan, once per attempt · `progress` {"epoch", "epochs", "step", "steps",
    "images_per_s", "eta_s", "checkpoint_s"} · `metrics` {"step", "values": {key: value}} · `log` {"level", "message"} ·
    `alert` {"level", "code", "title", "message", "subject", "step", "key"} (see `alerts.py`) ·
    `component` the manifest of a component · `identity` {"environment", "resumed_from", "run"}, once per attempt, and
    again if its data change · `checkpoint` {"step"}, once a checkpoint is complete · `activity` {"phase"}, now and then
    in a phase that reports nothing else.
    """

    def emit(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        """Reports one event."""

    def close(self) -> None:
        """Flushes; called once, at the end of an attempt."""


class NullReporter:
    """Discards all events."""

    def emit(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        return

    def close(self) -> None:
        return


class Fanout:
    """Passes every event to several reporters."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = tuple(reporters)

    def emit(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        for reporter in self._reporters:
            reporter.emit(kind, data)

    def close(self) -> None:
        for reporter in self._reporters:
            reporter.close()
