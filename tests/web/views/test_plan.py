"""The plan panel in words."""

from __future__ import annotations

from app.jobs.schemas import Estimate
from app.web.views.plan import estimate_text


def test_the_cost_is_none_only_where_no_job_is_new() -> None:
    def text(gpu_hours: float | None, based_on: int) -> str:
        return estimate_text(Estimate(gpu_hours=gpu_hours, based_on=based_on, why="why"))

    assert text(0.0, 0) == "none (why)"
    assert text(0.0, 2) == "about 1 device minute or less (why)"
    assert text(0.5, 2) == "about 30 device minutes (why)"
