"""The metrics store: points packed into chunks of 1,024, with a summary per chunk and per series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from sqlalchemy import delete, tuple_
from sqlmodel import Session, col, select

from app.metrics.blocks import Block, extremes_of, finite_list, finite_or_none
from app.metrics.directions import direction
from app.metrics.schemas import Latest, SeriesView
from app.models import Chunk, ChunkData, Series

__all__ = ["CHUNK", "Block", "append", "chart", "csv_rows", "extremes", "latest", "truncate"]

# Points in a full chunk.
CHUNK = 1_024
# Jobs in one statement.
_BATCH = 1_000


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
    last = session.exec(
        select(Chunk).where(Chunk.series_id == series.id).order_by(col(Chunk.number).desc()).limit(1)
    ).first()
    number = 0
    rest = block
    if last is not None:
        number = last.number + 1
        if last.count < CHUNK:
            number = last.number
            rest = _read_chunks(session, series.id, [number]).joined(block)
    for start in range(0, len(rest.steps), CHUNK):
        _write_chunk(session, series.id, number + start // CHUNK, rest.rows(slice(start, start + CHUNK)))
    _update_summary(series, block)


def _write_chunk(session: Session, series_id: int, number: int, block: Block) -> None:
    low, high = extremes_of(block.values)
    session.merge(
        Chunk(
            series_id=series_id,
            number=number,
            count=len(block.steps),
            first_step=int(block.steps[0]),
            last_step=int(block.steps[-1]),
            min=low,
            max=high,
            last=finite_or_none(block.values[-1]),
        )
    )
    packed = (block.steps.astype("<i8"), block.values.astype("<f8"), block.times.astype("<f8"))
    steps, values, times = (array.tobytes() for array in packed)
    session.merge(ChunkData(series_id=series_id, number=number, steps=steps, values=values, times=times))


def _truncate_series(session: Session, series: Series, step: int) -> None:
    """Deletes a series' points after a step and recomputes its summary."""
    chunks = list(session.exec(select(Chunk).where(Chunk.series_id == series.id).order_by(col(Chunk.number))))
    assert series.id is not None
    removed = [chunk.number for chunk in chunks if chunk.last_step > step]
    boundary = _read_chunks(session, series.id, removed[:1])
    for table in (Chunk, ChunkData):
        session.execute(delete(table).where(col(table.series_id) == series.id, col(table.number).in_(removed)))
    session.expire_all()
    kept = [chunk for chunk in chunks if chunk.number not in removed]
    series.count, series.last_step, series.last = 0, -1, None
    series.min = series.max = series.min_step = series.max_step = None
    for chunk in kept:
        _update_summary(series, _read_chunks(session, series.id, [chunk.number]))
    rest = boundary.rows(boundary.steps <= step)
    if len(rest.steps):
        _write_chunk(session, series.id, removed[0], rest)
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


def _read_chunks(session: Session, series_id: int, numbers: list[int]) -> Block:
    """The points of some chunks of a series, in order."""
    query = select(ChunkData.steps, ChunkData.values, ChunkData.times).where(
        ChunkData.series_id == series_id, col(ChunkData.number).in_(numbers)
    )
    rows = session.exec(query.order_by(col(ChunkData.number))).all()
    dtypes = ("<i8", "<f8", "<f8")
    steps, values, times = (
        np.frombuffer(b"".join(row[column] for row in rows), dtype=dtype) for column, dtype in enumerate(dtypes)
    )
    return Block(steps, values, times)


def latest(session: Session, job_id: str) -> dict[str, Latest]:
    """The summary of every metric of a job, by key."""
    return {
        row.key: Latest(
            step=row.last_step,
            value=row.last,
            min=row.min,
            max=row.max,
            best_step=row.min_step if direction(row.key) == "min" else row.max_step,
            count=row.count,
        )
        for row in session.exec(select(Series).where(Series.job_id == job_id).order_by(Series.key))
    }


def chart(session: Session, series: Series, points: int, first: int | None, last: int | None) -> SeriesView:
    """A metric between two steps (inclusive) in at most `points` buckets, which keep the minimum and the maximum."""
    where = [col(Chunk.series_id) == series.id]
    if first is not None:
        where.append(col(Chunk.last_step) >= first)
    if last is not None:
        where.append(col(Chunk.first_step) <= last)
    columns = (Chunk.number, Chunk.first_step, Chunk.last_step, Chunk.last, Chunk.min, Chunk.max)
    rows = session.exec(select(*columns).where(*where).order_by(col(Chunk.number))).all()  # type: ignore[call-overload]
    assert series.id is not None
    if len(rows) <= max(2, points // 8):
        block = _between(_read_chunks(session, series.id, [row[0] for row in rows]), first, last)
        arrays = [block.steps, block.values, block.values, block.values]
    else:
        # The summaries of whole chunks, and the points of the first and last chunk, which may exceed the range.
        edges = [_between(_read_chunks(session, series.id, [rows[edge][0]]), first, last) for edge in (0, -1)]
        inner = rows[1:-1]
        steps, values, low, high = (np.array([row[column] for row in inner], dtype=float) for column in (2, 3, 4, 5))
        arrays = [
            np.concatenate([head, middle, tail])
            for head, middle, tail in zip(
                (edges[0].steps, *[edges[0].values] * 3),
                (steps, values, low, high),
                (edges[1].steps, *[edges[1].values] * 3),
                strict=True,
            )
        ]
    return _buckets(series.key, *arrays, points=points)


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


def _between(block: Block, first: int | None, last: int | None) -> Block:
    inside = np.ones(len(block.steps), dtype=bool)
    if first is not None:
        inside &= block.steps >= first
    if last is not None:
        inside &= block.steps <= last
    return block.rows(inside)


def _buckets(
    key: str, steps: np.ndarray, values: np.ndarray, low: np.ndarray, high: np.ndarray, *, points: int
) -> SeriesView:
    count = len(steps)
    if count == 0:
        return SeriesView(key=key, steps=[], values=[], min=[], max=[])
    starts = np.unique(np.linspace(0, count, min(points, count), endpoint=False).astype(int))
    ends = np.append(starts[1:], count) - 1
    # fmin and fmax ignore NaN wherever there is a number.
    minima, maxima = np.fmin.reduceat(low, starts), np.fmax.reduceat(high, starts)
    return SeriesView(
        key=key,
        steps=steps[ends].astype(np.int64).tolist(),
        values=finite_list(values[ends]),
        min=finite_list(minima),
        max=finite_list(maxima),
    )


def csv_rows(session: Session, job_id: str) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Every metric of a job in blocks: key, steps, values, times."""
    for series in session.exec(select(Series).where(Series.job_id == job_id).order_by(Series.key)).all():
        assert series.id is not None
        numbers = session.exec(
            select(Chunk.number).where(Chunk.series_id == series.id).order_by(col(Chunk.number))
        ).all()
        for start in range(0, len(numbers), 64):
            block = _read_chunks(session, series.id, list(numbers[start : start + 64]))
            yield series.key, block.steps, block.values, block.times
