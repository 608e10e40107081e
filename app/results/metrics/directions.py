"""Which values of a metric are better. Latest values, charts, leaderboards and early stopping share this."""

from __future__ import annotations

from typing import Literal

Mode = Literal["max", "min"]
# Words of a metric's name after its last slash, as in `val/loss_global`, `test/nll` and `throughput/images_per_s`.
LOWER_IS_BETTER = frozenset({"loss", "nll", "ece", "collusion"})
# Lists begin with the lowest value, but experts that differ often are neither better nor worse.
LOWEST_FIRST = frozenset({"disagreement"})
HIGHER_IS_BETTER = frozenset({"accuracy", "images"})


def known_direction(metric: str) -> Mode | None:
    """`min` or `max`: which values are better; None for metrics of which neither can be said, such as a rate."""
    words = _words(metric)
    if not LOWER_IS_BETTER.isdisjoint(words):
        return "min"
    return None if HIGHER_IS_BETTER.isdisjoint(words) else "max"


def direction(metric: str) -> Mode:
    """`min` for metrics whose lower values are better or come first in lists, `max` for all others."""
    return known_direction(metric) or ("max" if LOWEST_FIRST.isdisjoint(_words(metric)) else "min")


def _words(metric: str) -> list[str]:
    return metric.rpartition("/")[2].split("_")
