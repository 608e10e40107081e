"""The test accuracy of jobs minus that of the first one, with paired intervals from their stored predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from app.models import Job
from app.results.predictions.comparison import Side, default_path, names_of
from app.results.predictions.pairs import PairOutcome, paired_difference
from app.results.predictions.wording import p_text, sentence
from app.settings import Settings
from app.web.views import words
from app.web.views.difference import signed


class BaselineCell(NamedTuple):
    """A difference in points with its interval and p value as text; without them, `why`. The baseline has neither.

    `sentence` says in plain words what the difference means, and `address` is the page with all figures of both.
    """

    text: str = ""
    interval: str = ""
    p: str = ""
    excludes_zero: bool = False
    why: str = ""
    sentence: str = ""
    address: str = ""


def outcomes_against_baseline(settings: Settings, jobs: Sequence[Job]) -> list[PairOutcome | None]:
    """For each job its difference to the first one, or why there is none; None for the first one itself."""
    return [paired_difference(settings, job, jobs[0]) if number else None for number, job in enumerate(jobs)]


def baseline_cells(jobs: Sequence[Job], outcomes: Sequence[PairOutcome | None]) -> list[BaselineCell]:
    """A cell for each job, the first of which is the baseline; empty if there is nothing to compare."""
    cells = [
        BaselineCell() if outcome is None else _cell(job, jobs[0], outcome)
        for job, outcome in zip(jobs, outcomes, strict=True)
    ]
    return cells if any(cell.text for cell in cells) else []


def other_images(outcomes: Sequence[PairOutcome | None]) -> list[str]:
    """For each job how its test images differ from those of the first one, as a clause; empty where they are equal."""
    return [outcome.other_images if outcome else "" for outcome in outcomes]


def _cell(job: Job, baseline: Job, outcome: PairOutcome) -> BaselineCell:
    difference = outcome.difference
    if difference is None:
        return BaselineCell(why=outcome.why)
    names = names_of(*(Side(one, default_path(one.kind)) for one in (job, baseline)))
    return BaselineCell(
        text=signed(100 * difference.value, 1),
        interval=f"{words.points(difference.low)} to {words.points(difference.high)}",
        p=p_text(difference.p),
        excludes_zero=difference.excludes_zero,
        sentence=sentence(*names, difference, outcome.num_images),
        address=f"/ui/compare/pair?a={job.id}&b={baseline.id}",
    )
