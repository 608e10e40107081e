"""Numbers and codes as people read them."""

from __future__ import annotations

import pytest

from app.web.views import words
from core.run.reasons import Reason


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.04, "0 s"), (0.26, "0.3 s"), (2.98, "3 s"), (9.97, "10 s"), (59.6, "1 min"), (7_530, "2 h 5 min")],
)
def test_a_duration_is_rounded_to_what_can_be_read(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_no_reason_is_shown_as_a_code_or_as_a_fault_of_the_code() -> None:
    texts = [words.reason(reason) for reason in Reason]
    assert not any("_" in text or "code" in text for text in texts)
    assert words.reason("slurm") == "slurm"


def test_points_have_a_sign_and_one_decimal() -> None:
    assert [words.points(value) for value in (0.1912, -0.0004, -0.05, None)] == [
        "+19.1",
        "0.0",
        "\u22125.0",
        words.NOTHING,
    ]
