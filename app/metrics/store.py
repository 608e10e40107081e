"""Metrics in chunks: points packed by 1,024, with what a zoomed-out chart needs beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import delete, tuple_
from sqlmodel import Session, col, select

from app.models import Chunk, ChunkData, Series

CHUNK = 1_024


@dataclass(frozen=True)
class Block:
    """Points of one metric in the order of their steps; values that are not finite are NaN, times are Unix seconds."""

    steps: np.ndarray
    values: np.ndarray
    times: np.ndarray

    def rows(self, where: slice | np.ndarray) -> Block:
        """Some of the points."""
        return Block(self.steps[where], self.values[where], self.times[where])

    def joined(self, other: Block) -> Block:
        """These points and then those."""
        pairs = ((self.steps, other.steps), (self.values, other.values), (self.times, other.times))
        return Block(*(np.concatenate(pair) for pair in pairs))


def append(session: Session, job_id: str, blocks: Mapping[str, Block]) -> None:
    """Adds points by key. Steps that are there already, and all after them, are replaced."""
    known = {row.key: row for row in session.exec(select(Series).where(Series.job_id == job_id))}
    for key, block in blocks.items():
        series = known.get(key)
        if series is None:
            series = Series(job_id=job_id, key=key)
            session.add(series)
            session.flush()
        elif len(block.steps) and block.steps[0] <= series.last_step:
            _cut(session, series, int(block.steps[0]) - 1)
        _add(session, series, block)


def truncate(session: Session, job_id: str, step: int) -> None:
    """Forgets every point after a step: those steps will be done again."""
    for series in session.exec(select(Series).where(Series.job_id == job_id, col(Series.last_step) > step)):
        _cut(session, series, step)


def _add(session: Session, series: Series, block: Block) -> None:
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
            rest = _read(session, series.id, [number]).joined(block)
    for start in range(0, len(rest.steps), CHUNK):
        _write(session, series.id, number + start // CHUNK, rest.rows(slice(start, start + CHUNK)))
    _summarize(series, block)


def _write(session: Session, series_id: int, number: int, block: Block) -> None:
    low, high = _extremes(block.values)
    session.merge(
        Chunk(
            series_id=series_id,
            number=number,
            count=len(block.steps),
            first_step=int(block.steps[0]),
            last_step=int(block.steps[-1]),
            min=low,
            max=high,
            last=_number(block.values[-1]),
        )
    )
    packed = (block.steps.astype("<i8"), block.values.astype("<f8"), block.times.astype("<f8"))
    steps, values, times = (array.tobytes() for array in packed)
    session.merge(ChunkData(series_id=series_id, number=number, steps=steps, values=values, times=times))


def _cut(session: Session, series: Series, step: int) -> None:
    """Forgets a series' points after a step, and reckons its summary anew."""
    chunks = list(session.exec(select(Chunk).where(Chunk.series_id == series.id).order_by(col(Chunk.number))))
    assert series.id is not None
    gone = [chunk.number for chunk in chunks if chunk.last_step > step]
    edge = _read(session, series.id, gone[:1])
    for table in (Chunk, ChunkData):
        session.execute(delete(table).where(col(table.series_id) == series.id, col(table.number).in_(gone)))
    session.expire_all()
    kept = [chunk for chunk in chunks if chunk.number not in gone]
    series.count, series.last_step, series.last = 0, -1, None
    series.min = series.max = series.min_step = series.max_step = None
    for chunk in kept:
        _summarize(series, _read(session, series.id, [chunk.number]))
    rest = edge.rows(edge.steps <= step)
    if len(rest.steps):
        _write(session, series.id, gone[0], rest)
        _summarize(series, rest)
    session.flush()


def _summarize(series: Series, block: Block) -> None:
    series.count += len(block.steps)
    series.last_step = int(block.steps[-1])
    series.last = _number(block.values[-1])
    finite = np.isfinite(block.values)
    if not finite.any():
        return
    values, steps = block.values[finite], block.steps[finite]
    low, high = int(values.argmin()), int(values.argmax())
    if series.min is None or values[low] < series.min:
        series.min, series.min_step = float(values[low]), int(steps[low])
    if series.max is None or values[high] > series.max:
        series.max, series.max_step = float(values[high]), int(steps[high])


def _read(session: Session, series_id: int, numbers: list[int]) -> Block:
    """The points of some chunks of a series, in order."""
    query = select(ChunkData.steps, ChunkData.values, ChunkData.times).where(
        ChunkData.series_id == series_id, col(ChunkData.number).in_(numbers)
    )
    rows = session.exec(query.order_by(col(ChunkData.number))).all()
    kinds = ("<i8", "<f8", "<f8")
    steps, values, times = (
        np.frombuffer(b"".join(row[place] for row in rows), dtype=kind) for place, kind in enumerate(kinds)
    )
    return Block(steps, values, times)


def latest(session: Session, job_id: str) -> dict[str, dict[str, Any]]:
    """The summary of every metric; the best step is that of the minimum for losses, of the maximum for the rest."""
    shown = {}
    for row in session.exec(select(Series).where(Series.job_id == job_id).order_by(Series.key)):
        least = "loss" in row.key or row.key.rpartition("/")[2] in ("nll", "ece")
        best = row.min_step if least else row.max_step
        shown[row.key] = {
            "step": row.last_step,
            "value": row.last,
            "min": row.min,
            "max": row.max,
            "best_step": best,
            "count": row.count,
        }
    return shown


def chart(session: Session, series: Series, points: int, first: int | None, last: int | None) -> dict[str, Any]:
    """A metric in at most `points` buckets of steps, with each bucket's last value, minimum and maximum."""
    where = [col(Chunk.series_id) == series.id]
    if first is not None:
        where.append(col(Chunk.last_step) >= first)
    if last is not None:
        where.append(col(Chunk.first_step) <= last)
    columns = (Chunk.number, Chunk.first_step, Chunk.last_step, Chunk.last, Chunk.min, Chunk.max)
    rows = session.exec(select(*columns).where(*where).order_by(col(Chunk.number))).all()  # type: ignore[call-overload]
    assert series.id is not None
    if len(rows) <= max(2, points // 8):
        block = _within(_read(session, series.id, [row[0] for row in rows]), first, last)
        arrays = [block.steps, block.values, block.values, block.values]
    else:
        # Whole chunks as they are; the first and the last may stand out of the range, and are looked into.
        edges = [_within(_read(session, series.id, [rows[place][0]]), first, last) for place in (0, -1)]
        inner = rows[1:-1]
        steps, values, low, high = (np.array([row[place] for row in inner], dtype=float) for place in (2, 3, 4, 5))
        arrays = [
            np.concatenate([head, middle, tail])
            for head, middle, tail in zip(
                (edges[0].steps, *[edges[0].values] * 3),
                (steps, values, low, high),
                (edges[1].steps, *[edges[1].values] * 3),
                strict=True,
            )
        ]
    return {"key": series.key, **_buckets(*arrays, points=points)}


def extremes(session: Session, key: str, until: Mapping[str, int]) -> dict[str, tuple[float | None, float | None]]:
    """The least and the largest value of a metric of several jobs, each up to a step of its own, that included.

    Jobs without a point up to there are left out; one with none that is a finite number has (None, None).
    """
    found: dict[str, list[tuple[float | None, float | None]]] = {}
    columns = (Series.job_id, Chunk.series_id, Chunk.number, Chunk.first_step, Chunk.last_step, Chunk.min, Chunk.max)
    chunks = select(*columns).join(Chunk, col(Chunk.series_id) == col(Series.id)).where(Series.key == key)  # type: ignore[call-overload]
    jobs = list(until)
    for start in range(0, len(jobs), CHUNK):
        its = chunks.where(col(Series.job_id).in_(jobs[start : start + CHUNK]))
        # Of a chunk that goes beyond the step, one a job at most, the points themselves are needed.
        cut: dict[tuple[int, int], str] = {}
        for job_id, series_id, number, first_step, last_step, low, high in session.exec(its):
            if last_step <= until[job_id]:
                found.setdefault(job_id, []).append((low, high))
            elif first_step <= until[job_id]:
                cut[series_id, number] = job_id
        place = tuple_(ChunkData.series_id, ChunkData.number)
        query = select(ChunkData.series_id, ChunkData.number, ChunkData.steps, ChunkData.values).where(
            place.in_(list(cut))
        )
        for series_id, number, steps, values in session.exec(query) if cut else ():
            job_id = cut[series_id, number]
            inside = np.frombuffer(steps, dtype="<i8") <= until[job_id]
            found.setdefault(job_id, []).append(_extremes(np.frombuffer(values, dtype="<f8")[inside]))
    return {
        job_id: (
            min((low for low, _ in pairs if low is not None), default=None),
            max((high for _, high in pairs if high is not None), default=None),
        )
        for job_id, pairs in found.items()
    }


def _within(block: Block, first: int | None, last: int | None) -> Block:
    inside = np.ones(len(block.steps), dtype=bool)
    if first is not None:
        inside &= block.steps >= first
    if last is not None:
        inside &= block.steps <= last
    return block.rows(inside)


def _buckets(
    steps: np.ndarray, values: np.ndarray, low: np.ndarray, high: np.ndarray, *, points: int
) -> dict[str, Any]:
    count = len(steps)
    if count == 0:
        return {"steps": [], "values": [], "min": [], "max": []}
    starts = np.unique(np.linspace(0, count, min(points, count), endpoint=False).astype(int))
    ends = np.append(starts[1:], count) - 1
    # fmin and fmax pass over NaN where there is a number.
    least, most = np.fmin.reduceat(low, starts), np.fmax.reduceat(high, starts)
    return {
        "steps": steps[ends].astype(np.int64).tolist(),
        "values": _numbers(values[ends]),
        "min": _numbers(least),
        "max": _numbers(most),
    }


def csv_rows(session: Session, job_id: str) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Every metric in blocks: key, steps, values, times."""
    for series in session.exec(select(Series).where(Series.job_id == job_id).order_by(Series.key)).all():
        assert series.id is not None
        numbers = session.exec(
            select(Chunk.number).where(Chunk.series_id == series.id).order_by(col(Chunk.number))
        ).all()
        for start in range(0, len(numbers), 64):
            block = _read(session, series.id, list(numbers[start : start + 64]))
            yield series.key, block.steps, block.values, block.times


def _extremes(values: np.ndarray) -> tuple[float | None, float | None]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (None, None)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _numbers(values: np.ndarray) -> list[float | None]:
    listed: list[float | None] = values.tolist()
    return listed if np.isfinite(values).all() else [_number(value) for value in values]
