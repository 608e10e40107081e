"""Reads metrics for charts: in buckets that keep extremes, from the summaries of chunks wherever those suffice."""

from __future__ import annotations

import numpy as np
from sqlmodel import Session, col, select
from typing_extensions import TypedDict

from app.metrics.blocks import Block, finite_list
from app.metrics.store import read_chunks
from app.models import Chunk, Series


class Buckets(TypedDict):
    """Points of a chart: the last step and value of each bucket, and its minimum and maximum."""

    steps: list[int]
    values: list[float | None]
    min: list[float | None]
    max: list[float | None]


class Chart(Buckets):
    """A metric over steps."""

    key: str


def chart(session: Session, series: Series, points: int, first: int | None, last: int | None) -> Chart:
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
        block = _between(read_chunks(session, series.id, [row[0] for row in rows]), first, last)
        arrays = [block.steps, block.values, block.values, block.values]
    else:
        # The summaries of whole chunks, and the points of the first and last chunk, which may exceed the range.
        edges = [_between(read_chunks(session, series.id, [rows[edge][0]]), first, last) for edge in (0, -1)]
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
    return {"key": series.key, **_buckets(*arrays, points=points)}


def _between(block: Block, first: int | None, last: int | None) -> Block:
    inside = np.ones(len(block.steps), dtype=bool)
    if first is not None:
        inside &= block.steps >= first
    if last is not None:
        inside &= block.steps <= last
    return block.rows(inside)


def _buckets(steps: np.ndarray, values: np.ndarray, low: np.ndarray, high: np.ndarray, *, points: int) -> Buckets:
    count = len(steps)
    if count == 0:
        return {"steps": [], "values": [], "min": [], "max": []}
    starts = np.unique(np.linspace(0, count, min(points, count), endpoint=False).astype(int))
    ends = np.append(starts[1:], count) - 1
    # fmin and fmax ignore NaN wherever there is a number.
    minima, maxima = np.fmin.reduceat(low, starts), np.fmax.reduceat(high, starts)
    return {
        "steps": steps[ends].astype(np.int64).tolist(),
        "values": finite_list(values[ends]),
        "min": finite_list(minima),
        "max": finite_list(maxima),
    }
