from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from app.results.statistics.seeds import mean_interval


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    values = [0.91, 0.93, 0.925, 0.9]
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_one_run_has_no_interval_and_equal_runs_have_a_point() -> None:
    assert mean_interval([0.9]) is None
    assert mean_interval([]) is None
    interval = mean_interval([0.5, 0.5])
    assert interval is not None
    assert np.ptp(interval) == 0.0
