from __future__ import annotations

import pytest

from app.results.predictions.examples import COMPARISON
from app.results.predictions.schemas import Comparison, Difference
from app.results.predictions.wording import sentence


def difference(value: float, low: float, high: float, p: float) -> Difference:
    excludes = low > 0 or high < 0
    return Difference(value=value, low=low, high=high, excludes_zero=excludes, only_a=0, only_b=0, p=p)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (
            difference(0.012, -0.003, 0.027, 0.11),
            "A is 1.2 points better than B, 95 % interval -0.3 to 2.7, p = 0.11: not distinguishable on 360 images",
        ),
        (
            difference(-0.05, -0.08, -0.02, 1e-7),
            "A is 5.0 points worse than B, 95 % interval -8.0 to -2.0, p < 0.0001: distinguishable on 360 images",
        ),
        (
            difference(0.02, 0.001, 0.04, 0.06),
            "A is 2.0 points better than B, 95 % interval 0.1 to 4.0, p = 0.06: "
            "barely distinguishable, interval and exact test do not agree, on 360 images",
        ),
        (
            difference(0.0, -0.0001, 0.01, 1.0),
            "A and B are equally accurate, 95 % interval 0.0 to 1.0, p = 1: not distinguishable on 360 images",
        ),
    ],
)
def test_a_difference_is_told_in_points(measured: Difference, expected: str) -> None:
    assert sentence("A", "B", measured, 360) == expected


def test_the_example_of_the_description_is_a_comparison() -> None:
    example = Comparison.model_validate(COMPARISON)
    told = sentence(example.a.path, example.b.path, example.difference, example.num_images)
    assert told == example.sentence
    assert example.difference.value == pytest.approx(example.a.accuracy - example.b.accuracy, abs=1e-4)
