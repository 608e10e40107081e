"""The metrics store: points packed into chunks of 1,024, with a summary per chunk and per series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import delete, func, insert, tuple_
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
# A statement names two numbers for each, and SQLite takes 32,766 of them.
SERIES_AT_A_TIME = 10_000
# 12 MB in a statement, for whose answer the database has a limited time.
CHUNKS_AT_A_TIME = 500


def append(session: Session, job_id: str, blocks: Mapping[str, Block]) -> None:
    """Appends points by key. Steps that exist already, and all steps after them, are replaced."""
    known = {row.key: row for row in session.exec(select(Series).where(Series.job_id == job_id))}
    added = {key: Series(job_id=job_id, key=key) for key in blocks if key not in known}
    session.add_all(added.values())
    session.flush()
    for key, block in blocks.items():
        if key in known and len(block.steps) and block.steps[0] <= known[key].last_step:
            _truncate_series(session, known[key], int(block.steps[0]) - 1)
    every = known | added
    filled = [(every[key], block) for key, block in blocks.items() if len(block.steps)]
    for start in range(0, len(filled), SERIES_AT_A_TIME):
        _append(session, filled[start : start + SERIES_AT_A_TIME])


def truncate(session: Session, job_id: str, step: int) -> None:
    """Deletes every point after a step, because a resumed job will do those steps again."""
    for series in session.exec(select(Series).where(Series.job_id == job_id, col(Series.last_step) > step)):
        _truncate_series(session, series, step)


def _append(session: Session, blocks: Sequence[tuple[Series, Block]]) -> None:
    """Appends points to series, whose last chunks are filled first; in as many statements for all as for one."""
    last = _last_chunks(session, [_id(series) for series, _ in blocks])
    unfilled = _unfilled_chunks(session, list(last.items()))
    replaced = [(series_id, last[series_id]) for series_id in unfilled]
    for table in (ChunkData, Chunk) if replaced else ():
        session.execute(delete(table).where(tuple_(table.series_id, table.number).in_(replaced)))
    rows: list[tuple[int, int, Block]] = []
    for series, block in blocks:
        series_id = _id(series)
        number, rest = last.get(series_id, -1) + 1, block
        if series_id in unfilled:
            number, rest = last[series_id], unfilled[series_id].joined(block)
        rows += _in_chunks(series_id, number, rest)
        _update_summary(series, block)
    _insert_chunks(session, rows)


def _id(series: Series) -> int:
    assert series.id is not None
    return series.id


def _last_chunks(session: Session, series_ids: Sequence[int]) -> dict[int, int]:
    """The number of the last chunk of each series that has one."""
    # By series, so that each number is the end of an index.
    number = select(func.max(Chunk.number)).where(Chunk.series_id == Series.id).scalar_subquery()
    rows = session.connection().execute(select(Series.id, number).where(col(Series.id).in_(series_ids)))
    return {series_id: last for series_id, last in rows if last is not None}


def _unfilled_chunks(session: Session, keys: Sequence[tuple[int, int]]) -> dict[int, Block]:
    """By series, the points of those of the chunks that have room; `keys` are ids of series and numbers of chunks."""
    if not keys:
        return {}
    key, data_key = tuple_(Chunk.series_id, Chunk.number), tuple_(ChunkData.series_id, ChunkData.number)
    query = select(ChunkData.series_id, ChunkData.steps, ChunkData.values, ChunkData.times)
    query = query.join(Chunk, key == data_key).where(key.in_(keys), Chunk.count < CHUNK)
    return {series_id: unpacked(*arrays) for series_id, *arrays in session.connection().execute(query)}


def _in_chunks(series_id: int, number: int, block: Block) -> list[tuple[int, int, Block]]:
    """Points of a series in parts that fit into chunks, of which the first has this number."""
    parts = (block.rows(slice(start, start + CHUNK)) for start in range(0, len(block.steps), CHUNK))
    return [(series_id, number + offset, part) for offset, part in enumerate(parts)]


def _insert_chunks(session: Session, rows: Sequence[tuple[int, int, Block]]) -> None:
    """Stores points as new chunks, given as id of the series, number and points; in few statements for all of them."""
    chunks: list[dict[str, Any]] = []
    packed: list[dict[str, Any]] = []
    for series_id, number, points in rows:
        low, high = extremes_of(points.values)
        key = {"series_id": series_id, "number": number}
        summary = {
            "count": len(points.steps),
            "first_step": int(points.steps[0]),
            "last_step": int(points.steps[-1]),
            "min": low,
            "max": high,
            "last": finite_or_none(points.values[-1]),
            "mean": mean_of(points.values),
            "last_time": float(points.times[-1]),
        }
        arrays = {
            "steps": points.steps.astype("<i8"),
            "values": points.values.astype("<f8"),
            "times": points.times.astype("<f8"),
        }
        chunks.append(key | summary)
        packed.append(key | {name: array.tobytes() for name, array in arrays.items()})
    for start in range(0, len(chunks), CHUNKS_AT_A_TIME):
        session.execute(insert(Chunk), chunks[start : start + CHUNKS_AT_A_TIME])
        session.execute(insert(ChunkData), packed[start : start + CHUNKS_AT_A_TIME])


def _truncate_series(session: Session, series: Series, step: int) -> None:
    """Deletes a series' points after a step and recomputes its summary."""
    chunks = list(session.exec(select(Chunk).where(Chunk.series_id == series.id).order_by(col(Chunk.number))))
    series_id = _id(series)
    removed = [chunk.number for chunk in chunks if chunk.last_step > step]
    boundary = read_chunks(session, series_id, removed[:1])
    for table in (ChunkData, Chunk) if removed else ():
        session.execute(delete(table).where(col(table.series_id) == series_id, col(table.number) >= removed[0]))
    session.expire_all()
    kept = [chunk for chunk in chunks if chunk.number not in removed]
    series.count, series.last_step, series.last = 0, -1, None
    series.min = series.max = series.min_step = series.max_step = None
    for chunk in kept:
        _update_summary(series, read_chunks(session, series_id, [chunk.number]))
    rest = boundary.rows(boundary.steps <= step)
    if len(rest.steps):
        _insert_chunks(session, [(series_id, removed[0], rest)])
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
