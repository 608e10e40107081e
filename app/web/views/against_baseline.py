"""The test accuracy of jobs minus that of the first one, with paired intervals from their stored predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from app.http.errors import Invalid, NotFound
from app.models import Job
from app.results.predictions.comparison import check_same_data, default_path
from app.results.predictions.stored import Predicted, stored_split
from app.results.statistics.agreement import discordance
from app.results.statistics.intervals import difference_interval
from app.settings import Settings
from app.web.views import words
from app.web.views.difference import signed


class BaselineCell(NamedTuple):
    """A difference in points with its interval as text; without them, `why`. The baseline has neither."""

    text: str = ""
    interval: str = ""
    excludes_zero: bool = False
    why: str = ""


def against_baseline(settings: Settings, jobs: Sequence[Job]) -> list[BaselineCell]:
    """A cell for each job, the first of which is the baseline; empty if there is nothing to compare.

    Reads labels and predicted classes alone, no logits: a few kilobytes for each job.
    """
    if len(jobs) < 2:
        return []
    baseline = _read(settings, jobs[0])
    if isinstance(baseline, str):
        return []
    cells = [BaselineCell(), *(_cell(baseline, _read(settings, job, jobs[0])) for job in jobs[1:])]
    return cells if any(cell.text for cell in cells) else []


def _read(settings: Settings, job: Job, baseline: Job | None = None) -> tuple[str, Predicted] | str:
    """The data set of a job and what it predicts on test; or why that is not known, or not on the baseline's images."""
    try:
        if baseline is not None:
            check_same_data(settings, baseline, job, "test")
        stored = stored_split(settings, job, "test")
        return str(stored.entry["dataset"]), stored.predicted(default_path(job.kind))
    except (Invalid, NotFound) as problem:
        return problem.detail


def _cell(baseline: tuple[str, Predicted], other: tuple[str, Predicted] | str) -> BaselineCell:
    if isinstance(other, str):
        return BaselineCell(why=other)
    (dataset_b, b), (dataset_a, a) = baseline, other
    if dataset_a != dataset_b or not np.array_equal(a.ids, b.ids) or not np.array_equal(a.labels, b.labels):
        return BaselineCell(why="It was not measured on the same images as the baseline.")
    counts = discordance(a.correct, b.correct)
    interval = difference_interval(*counts, len(a.ids))
    value = (counts.only_a - counts.only_b) / len(a.ids)
    return BaselineCell(
        signed(100 * value, 1),
        f"{words.points(interval.low)} to {words.points(interval.high)}",
        interval.excludes_zero,
    )
