"""Two ways to do one thing, timed in turns, so that a busy machine slows both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Row:
    """One comparison: seconds of ours and of the other, the ratio other / ours, and the ratio that is wanted."""

    what: str
    ours_s: float
    other_s: float
    ratio: float
    wanted: float | None
    unit_count: int = 1

    def cells(self) -> list[str]:
        """The row as text: units a second of both, ratio, wanted."""
        wanted = "" if self.wanted is None else f">= {self.wanted:g}  {'ok' if self.ratio >= self.wanted else 'MISSED'}"
        ours, other = (f"{self.unit_count / seconds:,.1f}" for seconds in (self.ours_s, self.other_s))
        return [self.what, ours, other, f"{self.ratio:.2f}", wanted]


def compare(
    what: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    *,
    rounds: int,
    wanted: float | None = None,
    unit_count: int = 1,
) -> Row:
    """Calls both in turns after one call each that is not counted; the ratio is the median of the rounds' ratios."""
    timed(ours)
    timed(other)
    pairs = [(timed(ours), timed(other)) for _ in range(rounds)]
    ratio = statistics.median(there / here for here, there in pairs)
    here, there = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Row(what, here, there, ratio, wanted, unit_count)


def timed(action: Callable[[], object]) -> float:
    """Seconds that a call takes, the device's work included."""
    wait()
    began = time.perf_counter()
    action()
    wait()
    return time.perf_counter() - began


def wait() -> None:
    """Until the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
