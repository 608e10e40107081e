"""Sparklines: the course of the accuracy that ranks jobs, in a few points each."""

from __future__ import annotations

from collections.abc import Mapping

from sqlmodel import Session

from app.results.metrics.buckets import rounded
from app.results.metrics.charts import read_whole_series
from app.results.metrics.queries import find_series_of_kinds

POINTS = 24
# A series with more points is drawn from the means of its chunks, of which it has at least `POINTS`.
MAX_POINTS_READ = POINTS * 1_024


def sparklines(session: Session, kinds: Mapping[str, str], points: int = POINTS) -> dict[str, list[float | None]]:
    """Validation accuracy over training in at most `points` means, oldest first, by job id; takes two queries.

    `kinds` has the kind of each job by id. Jobs that have not been validated yet are left out; null stands for a value
    that is not finite.
    """
    series = find_series_of_kinds(session, kinds)
    short = [row.id for row in series.values() if row.num_points <= MAX_POINTS_READ]
    data = read_whole_series(session, [row.id for row in series.values()], short)
    return {job_id: rounded(data[row.id].reduced(points).mean) for job_id, row in series.items() if row.id in data}
