"""Buckets against plain arrays: means weighted by points, numbers of six significant digits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.results.metrics.blocks import Block
from app.results.metrics.buckets import Summaries, rounded


def raw(values: np.ndarray) -> Summaries:
    steps = np.arange(len(values), dtype=np.int64)
    return Summaries.of_points(Block(steps, values, steps + 0.5))


@pytest.mark.parametrize(("count", "points"), [(10, 10), (11, 10), (1_000, 7), (997, 100), (3, 500)])
def test_buckets_of_points_hold_every_point_once(count: int, points: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    values[count // 2] = np.nan
    buckets = raw(values).reduced(points)
    assert len(buckets.counts) == min(points, count)
    assert buckets.counts.sum() == count
    assert buckets.counts.max() - buckets.counts.min() <= 1
    start = 0
    for index, step in enumerate(buckets.steps.tolist()):
        part = values[start : step + 1]
        finite = part[np.isfinite(part)]
        assert buckets.counts[index] == len(part)
        assert buckets.times[index] == step + 0.5
        np.testing.assert_equal(buckets.last[index], part[-1])
        if len(finite):
            assert buckets.mean[index] == pytest.approx(finite.mean())
            assert (buckets.min[index], buckets.max[index]) == (finite.min(), finite.max())
        start = step + 1


def test_means_of_longer_runs_weigh_more() -> None:
    runs = Summaries(
        *(np.array(column) for column in ([1, 3, 4], [0, 3, 7], [0.0, 3.0, 7.0], [8.0, 4.0, np.nan])),
        *(np.array(column) for column in ([8.0, 1.0, np.nan], [8.0, 1.0, np.nan], [8.0, 9.0, np.nan])),
    )
    [bucket] = zip(*vars(runs.reduced(1)).values(), strict=True)
    counts, step, time, mean, last, low, high = bucket
    assert (counts, step, time, mean, low, high) == (8, 7, 7.0, (8.0 + 3 * 4.0) / 4, 1.0, 9.0)
    assert math.isnan(last)


def test_numbers_have_six_significant_digits() -> None:
    values = [0.98123456, -123456789.0, 1e-9 / 3, 0.0, math.nan, math.inf, 1e-300 / 3, 2e25 / 3, 0.1 + 0.2]
    assert rounded(np.array(values)) == [
        0.981235, -123457000.0, 3.33333e-10, 0.0, None, None, 3.33333e-301, 6.66667e24, 0.3,
    ]  # fmt: skip
    exact = np.random.default_rng(0).normal(size=2_000) * 10.0 ** np.arange(-10, 10).repeat(100)
    assert rounded(exact) == [float(f"{value:.6g}") for value in exact.tolist()]
