"""The mean of a metric over runs that differ only in their seeds, and the difference of two, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

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


# Differences that are equal but for rounding: accuracies are counts of images.
_EQUAL = 1e-12


class MeanDifference(NamedTuple):
    """A mean difference with its 95 % interval, and the two-sided p value of the paired t test."""

    value: float
    interval: Interval
    p: float


def paired_difference(differences: Sequence[float]) -> MeanDifference | None:
    """From the differences of two models, one for each seed that both were trained with.

    None for fewer than two, and where all are equal: the t test would be certain of what a few counts have in common.
    """
    from scipy.special import stdtr

    interval = mean_interval(differences)
    if interval is None or max(differences) - min(differences) < _EQUAL:
        return None
    mean, count = float(np.mean(differences)), len(differences)
    error = float(np.std(differences, ddof=1)) / math.sqrt(count)
    return MeanDifference(mean, interval, 2.0 * float(stdtr(count - 1, -abs(mean) / error)))
