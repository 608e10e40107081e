from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from statsmodels.stats.contingency_tables import mcnemar

from app.results.statistics.mcnemar import exact_p


@pytest.mark.parametrize("only_a", [0, 1, 2, 5, 17, 130])
@pytest.mark.parametrize("only_b", [1, 3, 5, 40, 131])
def test_the_p_value_is_that_of_scipy_and_statsmodels(only_a: int, only_b: int) -> None:
    table = np.array([[100, only_a], [only_b, 20]])
    assert exact_p(only_a, only_b) == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-9)
    assert exact_p(only_a, only_b) == pytest.approx(binomtest(only_a, only_a + only_b, 0.5).pvalue, abs=1e-9)
    assert exact_p(only_a, only_b) == exact_p(only_b, only_a)


def test_models_that_are_right_on_the_same_images_have_a_p_value_of_one() -> None:
    assert exact_p(0, 0) == 1.0


@pytest.mark.parametrize("num_different", [1, 5, 6, 17, 40, 99, 250])
def test_the_exact_test_never_rejects_equal_models_too_often(num_different: int) -> None:
    """Without simulation: the probability of all counts that it rejects, for a number of images that differ."""
    rejected = [exact_p(only_a, num_different - only_a) < 0.05 for only_a in range(num_different + 1)]
    assert binom.pmf(np.arange(num_different + 1), num_different, 0.5)[rejected].sum() <= 0.05
