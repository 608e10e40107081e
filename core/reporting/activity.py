"""Signs of life in long phases that report nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from core.reporting.protocol import Reporter

INTERVAL_S = 10.0

T = TypeVar("T")


class Activity:
    """Reports `activity` events, at most one in `INTERVAL_S` seconds.

    The work itself calls this: a timer on another thread would vouch for a process that hangs.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._reported_at = time.monotonic()

    def note(self, phase: str) -> None:
        """A part of this phase has been done."""
        now = time.monotonic()
        if now - self._reported_at >= INTERVAL_S:
            self._reported_at = now
            self._reporter.emit("activity", {"phase": phase})

    def watch(self, phase: str, items: Iterable[T]) -> Iterator[T]:
        """The same items; each one that is asked for is noted."""
        for item in items:
            self.note(phase)
            yield item
