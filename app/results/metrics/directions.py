"""Which values of a metric are better. Latest values, charts, leaderboards and early stopping share this."""

from __future__ import annotations

from typing import Literal

Mode = Literal["max", "min"]
# Words of a metric's name after its last slash, as in `val/loss_global`, `test/nll` and `throughput/images_per_s`.
LOWER_IS_BETTER = frozenset({"loss", "nll", "ece"})
# Lists begin with the lowest value, but experts that differ often are neither better nor worse.
LOWEST_FIRST = frozenset({"disagreement"})
HIGHER_IS_BETTER = frozenset({"accuracy", "images"})


def known_direction(metric: str) -> Mode | None:
    """`min` or `max`: which values are better; None for metrics of which neither can be said, such as a rate."""
    words = metric.rpartition("/")[2].split("_")
    if not LOWER_IS_BETTER.isdisjoint(words):
        return "min"
    return None if HIGHER_IS_BETTER.isdisjoint(words) else "max"


def direction(metric: str) -> Mode:
    """`min` for metrics whose lower values are better or come first in lists, `max` for all others."""
    is_lowest_first = not LOWEST_FIRST.isdisjoint(metric.rpartition("/")[2].split("_"))
    return known_direction(metric) or ("min" if is_lowest_first else "max")
