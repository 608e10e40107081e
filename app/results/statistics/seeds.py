"""The mean of a metric over runs that differ only in their seeds, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from app.results.statistics.intervals import LEVEL, Interval


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of the mean by Student's t distribution; None for fewer than two values.

    Runs with other seeds are the population, on the same images: it says nothing about other images.
    """
    from scipy.special import stdtrit

    if len(values) < 2:
        return None
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stdtrit(len(values) - 1, 0.5 + LEVEL / 2.0)) * deviation / math.sqrt(len(values))
    return Interval(mean - half, mean + half)
