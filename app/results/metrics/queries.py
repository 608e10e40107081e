"""The SQL of metrics beyond the store of their points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import tuple_
from sqlmodel import Session, col, select

from app.models import Chunk, ChunkData, Series
from app.results.metrics.blocks import extremes_of
from app.results.metrics.scores import accuracy_key

# Jobs in one statement.
_BATCH = 1_000


def find_series(session: Session, job_id: str, keys: Sequence[str]) -> dict[str, Series]:
    """Those of a job's metrics that have one of these keys, by key."""
    query = select(Series).where(Series.job_id == job_id, col(Series.key).in_(keys))
    return {row.key: row for row in session.exec(query)}


def find_series_of_jobs(session: Session, job_ids: Sequence[str], keys: Sequence[str]) -> dict[tuple[str, str], int]:
    """The ids of the metrics that jobs have, by job id and key, in the order of the arguments."""
    # No key has a NUL, which PostgreSQL refuses to compare with.
    keys = [key for key in dict.fromkeys(keys) if "\0" not in key]
    query = select(Series.job_id, Series.key, Series.id).where(
        col(Series.job_id).in_(job_ids), col(Series.key).in_(keys)
    )
    ids = {(job_id, key): series_id for job_id, key, series_id in session.exec(query) if series_id is not None}
    return {
        (job_id, key): ids[job_id, key] for job_id in dict.fromkeys(job_ids) for key in keys if (job_id, key) in ids
    }


class SeriesSize(NamedTuple):
    """A series and the number of its points."""

    id: int
    num_points: int


def find_series_of_kinds(session: Session, kinds: Mapping[str, str]) -> dict[str, SeriesSize]:
    """The series of the accuracy that ranks a job, by job id; `kinds` has the kind of each job."""
    keys = {job_id: accuracy_key(kind) for job_id, kind in kinds.items()}
    query = select(Series.job_id, Series.key, Series.id, Series.count)
    query = query.where(col(Series.job_id).in_(keys), col(Series.key).in_(set(keys.values())))
    by_job = {
        job_id: SeriesSize(series_id, count)
        for job_id, key, series_id, count in session.exec(query)
        if key == keys[job_id] and series_id is not None
    }
    return {job_id: by_job[job_id] for job_id in kinds if job_id in by_job}


def best_value(session: Session, job_id: str, key: str) -> float | None:
    """The maximum of a metric of a job; None if it has no finite value."""
    return session.exec(select(Series.max).where(Series.job_id == job_id, Series.key == key)).first()


def extremes(session: Session, key: str, until: Mapping[str, int]) -> dict[str, tuple[float | None, float | None]]:
    """The minimum and maximum of a metric for several jobs, each up to and including its own step in `until`.

    Jobs without a point up to that step are left out; a job without a finite value gets (None, None).
    """
    pairs: dict[str, list[tuple[float | None, float | None]]] = {}
    columns = (Series.job_id, Chunk.series_id, Chunk.number, Chunk.first_step, Chunk.last_step, Chunk.min, Chunk.max)
    chunks = select(*columns).join(Chunk, col(Chunk.series_id) == col(Series.id)).where(Series.key == key)  # type: ignore[call-overload]
    jobs = list(until)
    for start in range(0, len(jobs), _BATCH):
        batch = chunks.where(col(Series.job_id).in_(jobs[start : start + _BATCH]))
        # A chunk that extends beyond the step, at most one per job, has to be read.
        partial: dict[tuple[int, int], str] = {}
        for job_id, series_id, number, first_step, last_step, low, high in session.exec(batch):
            if last_step <= until[job_id]:
                pairs.setdefault(job_id, []).append((low, high))
            elif first_step <= until[job_id]:
                partial[series_id, number] = job_id
        chunk_id = tuple_(ChunkData.series_id, ChunkData.number)
        query = select(ChunkData.series_id, ChunkData.number, ChunkData.steps, ChunkData.values).where(
            chunk_id.in_(list(partial))
        )
        for series_id, number, steps, values in session.exec(query) if partial else ():
            job_id = partial[series_id, number]
            inside = np.frombuffer(steps, dtype="<i8") <= until[job_id]
            pairs.setdefault(job_id, []).append(extremes_of(np.frombuffer(values, dtype="<f8")[inside]))
    return {
        job_id: (
            min((low for low, _ in of_job if low is not None), default=None),
            max((high for _, high in of_job if high is not None), default=None),
        )
        for job_id, of_job in pairs.items()
    }
