"""The metrics store: points packed into chunks of 1,024, with a summary per chunk and per series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import delete, insert
from sqlmodel import Session, col, select

from app.models import Chunk, ChunkData, Series
from app.results.metrics.blocks import Block, extremes_of, finite_or_none, mean_of
from app.results.metrics.directions import direction
from app.results.metrics.schemas import Latest

__all__ = [
    "CHUNK",
    "Block",
    "append",
    "chunk_batches",
    "latest",
    "latest_of_jobs",
    "read_chunks",
    "truncate",
    "unpacked",
]

# Points in a full chunk.
CHUNK = 1_024


def append(session: Session, job_id: str, blocks: Mapping[str, Block]) -> None:
    """Appends points by key. Steps that exist already, and all steps after them, are replaced."""
    known = {row.key: row for row in session.exec(select(Series).where(Series.job_id == job_id))}
    for key, block in blocks.items():
        series = known.get(key)
        if series is None:
            series = Series(job_id=job_id, key=key)
            session.add(series)
            session.flush()
        elif len(block.steps) and block.steps[0] <= series.last_step:
            _truncate_series(session, series, int(block.steps[0]) - 1)
        _append_to_series(session, series, block)


def truncate(session: Session, job_id: str, step: int) -> None:
    """Deletes every point after a step, because a resumed job will do those steps again."""
    for series in session.exec(select(Series).where(Series.job_id == job_id, col(Series.last_step) > step)):
        _truncate_series(session, series, step)


def _append_to_series(session: Session, series: Series, block: Block) -> None:
    assert series.id is not None
    if not len(block.steps):
        return
    # Its columns and not the object, which would stay in the session after its row has been replaced.
    latest_chunk = select(Chunk.number, Chunk.count).where(Chunk.series_id == series.id)
    last = session.exec(latest_chunk.order_by(col(Chunk.number).desc()).limit(1)).first()
    number = 0
    rest = block
    if last is not None:
        number, count = last
        if count < CHUNK:
            rest = read_chunks(session, series.id, [number]).joined(block)
            _delete_chunks(session, series.id, [number])
        else:
            number += 1
    _insert_chunks(session, series.id, number, rest)
    _update_summary(series, block)


def _insert_chunks(session: Session, series_id: int, number: int, block: Block) -> None:
    """Stores points as new chunks, of which the first has this number; in two statements for any number of them."""
    chunks: list[dict[str, Any]] = []
    packed: list[dict[str, Any]] = []
    for start in range(0, len(block.steps), CHUNK):
        part = block.rows(slice(start, start + CHUNK))
        low, high = extremes_of(part.values)
        key = {"series_id": series_id, "number": number + start // CHUNK}
        summary = {
            "count": len(part.steps),
            "first_step": int(part.steps[0]),
            "last_step": int(part.steps[-1]),
            "min": low,
            "max": high,
            "last": finite_or_none(part.values[-1]),
            "mean": mean_of(part.values),
            "last_time": float(part.times[-1]),
        }
        arrays = {
            "steps": part.steps.astype("<i8"),
            "values": part.values.astype("<f8"),
            "times": part.times.astype("<f8"),
        }
        chunks.append(key | summary)
        packed.append(key | {name: array.tobytes() for name, array in arrays.items()})
    session.execute(insert(Chunk), chunks)
    session.execute(insert(ChunkData), packed)


def _delete_chunks(session: Session, series_id: int, numbers: Sequence[int]) -> None:
    for table in (ChunkData, Chunk):
        session.execute(delete(table).where(col(table.series_id) == series_id, col(table.number).in_(numbers)))


def _truncate_series(session: Session, series: Series, step: int) -> None:
    """Deletes a series' points after a step and recomputes its summary."""
    chunks = list(session.exec(select(Chunk).where(Chunk.series_id == series.id).order_by(col(Chunk.number))))
    assert series.id is not None
    removed = [chunk.number for chunk in chunks if chunk.last_step > step]
    boundary = read_chunks(session, series.id, removed[:1])
    _delete_chunks(session, series.id, removed)
    session.expire_all()
    kept = [chunk for chunk in chunks if chunk.number not in removed]
    series.count, series.last_step, series.last = 0, -1, None
    series.min = series.max = series.min_step = series.max_step = None
    for chunk in kept:
        _update_summary(series, read_chunks(session, series.id, [chunk.number]))
    rest = boundary.rows(boundary.steps <= step)
    if len(rest.steps):
        _insert_chunks(session, series.id, removed[0], rest)
        _update_summary(series, rest)
    session.flush()


def _update_summary(series: Series, block: Block) -> None:
    series.count += len(block.steps)
    series.last_step = int(block.steps[-1])
    series.last = finite_or_none(block.values[-1])
    finite = np.isfinite(block.values)
    if not finite.any():
        return
    values, steps = block.values[finite], block.steps[finite]
    low, high = int(values.argmin()), int(values.argmax())
    if series.min is None or values[low] < series.min:
        series.min, series.min_step = float(values[low]), int(steps[low])
    if series.max is None or values[high] > series.max:
        series.max, series.max_step = float(values[high]), int(steps[high])


def read_chunks(session: Session, series_id: int, numbers: list[int]) -> Block:
    """The points of some chunks of a series, in order."""
    query = select(ChunkData.steps, ChunkData.values, ChunkData.times).where(
        ChunkData.series_id == series_id, col(ChunkData.number).in_(numbers)
    )
    rows = session.exec(query.order_by(col(ChunkData.number))).all()
    return unpacked(*(b"".join(row[column] for row in rows) for column in range(3)))


def unpacked(steps: bytes, values: bytes, times: bytes) -> Block:
    """The points in the columns of stored chunks."""
    return Block(np.frombuffer(steps, "<i8"), np.frombuffer(values, "<f8"), np.frombuffer(times, "<f8"))


def latest(session: Session, job_id: str) -> dict[str, Latest]:
    """The summary of every metric of a job, by key."""
    return latest_of_jobs(session, [job_id])[job_id]


def latest_of_jobs(session: Session, job_ids: Sequence[str]) -> dict[str, dict[str, Latest]]:
    """The summary of every metric of some jobs, by job and key."""
    summaries: dict[str, dict[str, Latest]] = {job_id: {} for job_id in job_ids}
    for row in session.exec(select(Series).where(col(Series.job_id).in_(job_ids)).order_by(Series.key)):
        summaries[row.job_id][row.key] = Latest(
            step=row.last_step,
            value=row.last,
            min=row.min,
            max=row.max,
            best_step=row.min_step if direction(row.key) == "min" else row.max_step,
            count=row.count,
        )
    return summaries


def chunk_batches(session: Session, job_id: str) -> list[tuple[str, int, list[int]]]:
    """Every metric of a job in batches for `read_chunks`: key, id of the series, numbers of the chunks."""
    batches = []
    for series in session.exec(select(Series).where(Series.job_id == job_id).order_by(Series.key)).all():
        assert series.id is not None
        numbers = session.exec(
            select(Chunk.number).where(Chunk.series_id == series.id).order_by(col(Chunk.number))
        ).all()
        for start in range(0, len(numbers), 64):
            batches.append((series.key, series.id, list(numbers[start : start + 64])))
    return batches
