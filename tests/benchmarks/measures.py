"""Rows of the table of the service, and the times that they show."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

Row = list[str]


def row(what: str, value: str, wanted: str, is_met: bool) -> Row:
    """A measure with its value, and whether it is what is wanted; with nothing wanted, the last cell is empty."""
    return [what, value, wanted and f"{wanted}  {'ok' if is_met else 'MISSED'}"]


def median_s(action: Callable[[], object], rounds: int = 9) -> float:
    """The median duration of an action in seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
