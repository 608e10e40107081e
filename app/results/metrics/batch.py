"""Metrics of several jobs for one set of charts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sqlmodel import Session

from app.http.errors import Invalid
from app.jobs.queries import require_jobs
from app.results.metrics.buckets import Summaries, rounded
from app.results.metrics.charts import read_series
from app.results.metrics.queries import find_series_of_jobs
from app.results.metrics.schemas import JobSeries, JobSeriesList

# Buckets in one answer, of up to seven numbers each.
MAX_BUCKETS = 400_000


def series_of_jobs(
    session: Session,
    job_ids: Sequence[str],
    keys: Sequence[str],
    points: int,
    first: int | None = None,
    last: int | None = None,
) -> JobSeriesList:
    """Metrics of jobs between two steps (inclusive) in at most `points` buckets each, in the order of the arguments.

    A metric that a job does not have is left out. Raises NotFound for an unknown job, Invalid if the answer would be
    too large.
    """
    require_jobs(session, job_ids)
    series_ids = find_series_of_jobs(session, job_ids, keys)
    if len(series_ids) * points > MAX_BUCKETS:
        raise Invalid(
            f"points: {len(series_ids)} series of {points} points are more than {MAX_BUCKETS:,} points: "
            "request fewer points, jobs or keys"
        )
    data = read_series(session, list(series_ids.values()), points, first, last)
    return JobSeriesList(
        series=[_view(job_id, key, data[series_id].reduced(points)) for (job_id, key), series_id in series_ids.items()]
    )


def _view(job_id: str, key: str, buckets: Summaries) -> JobSeries:
    is_raw = bool((buckets.counts == 1).all())
    return JobSeries(
        job=job_id,
        key=key,
        steps=buckets.steps.tolist(),
        times=np.round(buckets.times, 3).tolist(),
        counts=None if is_raw else buckets.counts.tolist(),
        mean=rounded(buckets.mean),
        last=rounded(buckets.last),
        min=None if is_raw else rounded(buckets.min),
        max=None if is_raw else rounded(buckets.max),
    )
