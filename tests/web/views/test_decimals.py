"""Numbers as people read them."""

from __future__ import annotations

import pytest

from app.web.views.words import NOTHING, decimals, fixed


@pytest.mark.parametrize(
    ("values", "metric", "expected"),
    [
        ([1.0, 0.5, None], "val/accuracy_fused", ["1.0000", "0.5000", NOTHING]),
        ([0.12345, 0.9], "test/ece", ["0.1235", "0.9000"]),
        ([1.5, 0.123456], "test/nll", ["1.5000", "0.1235"]),
        ([1234.5, 99.25], "throughput/images_per_s", ["1\u202f234.5", "99.2"]),
        ([3.0, 12_000.0], "steps", ["3", "12\u202f000"]),
        ([0.00012, 0.00001], "lr", ["0.0001200", "0.0000100"]),
        ([0.0], "loss", ["0"]),
        ([], "loss", []),
    ],
)
def test_all_values_of_a_metric_have_as_many_decimals(
    values: list[float | None], metric: str, expected: list[str]
) -> None:
    places = decimals(values, metric)
    assert [fixed(value, places) for value in values] == expected
