"""The test accuracy of jobs minus that of the first one, with paired intervals from their stored predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from app.models import Job
from app.results.predictions.pairs import paired_difference
from app.results.predictions.schemas import Difference
from app.results.predictions.wording import p_text
from app.settings import Settings
from app.web.views import words
from app.web.views.difference import signed


class BaselineCell(NamedTuple):
    """A difference in points with its interval and p value as text; without them, `why`. The baseline has neither."""

    text: str = ""
    interval: str = ""
    p: str = ""
    excludes_zero: bool = False
    why: str = ""


def against_baseline(settings: Settings, jobs: Sequence[Job]) -> list[BaselineCell]:
    """A cell for each job, the first of which is the baseline; empty if there is nothing to compare."""
    if len(jobs) < 2:
        return []
    cells = [BaselineCell(), *(_cell(settings, job, jobs[0]) for job in jobs[1:])]
    return cells if any(cell.text for cell in cells) else []


def _cell(settings: Settings, job: Job, baseline: Job) -> BaselineCell:
    difference, _, why = paired_difference(settings, job, baseline)
    if difference is None:
        return BaselineCell(why=why)
    return BaselineCell(
        signed(100 * difference.value, 1), interval_text(difference), p_text(difference.p), difference.excludes_zero
    )


def interval_text(difference: Difference) -> str:
    """The interval of a difference in points, such as `+0.3 to +2.1`."""
    return f"{words.points(difference.low)} to {words.points(difference.high)}"
