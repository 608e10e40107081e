"""Which metrics are better when they are lower. Latest values, charts, leaderboards and early stopping share this."""

from __future__ import annotations

from typing import Literal

Mode = Literal["max", "min"]
# Words of a metric's name after its last slash, as in `val/loss_global`, `test/nll` and `test/disagreement`.
LOWER_IS_BETTER = frozenset({"loss", "nll", "ece", "disagreement"})


def direction(metric: str) -> Mode:
    """`min` for metrics whose lower values are better, `max` for all others."""
    words = metric.rpartition("/")[2].split("_")
    return "max" if LOWER_IS_BETTER.isdisjoint(words) else "min"
