"""Reads metrics for charts: in buckets that keep extremes, from the summaries of chunks wherever those suffice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, tuple_
from sqlmodel import Session, col, select

from app.models import Chunk, ChunkData, Series
from app.results.metrics.blocks import Block, finite_list
from app.results.metrics.buckets import Chunks, Summaries
from app.results.metrics.schemas import SeriesView
from app.results.metrics.store import unpacked

# Chunks whose points are read for one request, of 24 kB each.
MAX_CHUNKS_READ = 512
PAIRS_PER_QUERY = 500
# As `Chunks.of_columns` takes them.
_CHUNK_COLUMNS: list[Any] = [
    Chunk.series_id, Chunk.number, Chunk.first_step,
    Chunk.count, Chunk.last_step, Chunk.last_time, Chunk.mean, Chunk.last, Chunk.min, Chunk.max,
]  # fmt: skip


def chart(session: Session, series: Series, points: int, first: int | None, last: int | None) -> SeriesView:
    """A metric between two steps (inclusive) in at most `points` buckets, which keep the minimum and the maximum."""
    assert series.id is not None
    buckets = read_series(session, [series.id], points, first, last)[series.id].reduced(points)
    return SeriesView(
        key=series.key,
        steps=buckets.steps.tolist(),
        values=finite_list(buckets.last),
        min=finite_list(buckets.min),
        max=finite_list(buckets.max),
    )


def read_series(
    session: Session, series_ids: Sequence[int], points: int, first: int | None = None, last: int | None = None
) -> dict[int, Summaries]:
    """Several series between two steps (inclusive), with two queries: enough runs of points for `points` buckets each.

    Points are read where chunks are too long for buckets, as long as all series together have few chunks; where they
    have many, buckets are chunks.
    """
    chunks = _read_chunks(session, series_ids, first, last)
    limit = max(2, min(points // 2, MAX_CHUNKS_READ // max(1, len(chunks))))
    numbers = {
        series_id: rows.numbers if len(rows.numbers) <= limit else rows.partial(first, last)
        for series_id, rows in chunks.items()
    }
    blocks = _read_blocks(session, [(series_id, number) for series_id, some in numbers.items() for number in some])
    whole = dict.fromkeys(series_ids, Summaries.of_points(unpacked(b"", b"", b"")))
    for series_id, rows in chunks.items():
        points_read = {number: blocks[series_id, number] for number in numbers[series_id]}
        whole[series_id] = rows.with_points(points_read, first, last)
    return whole


def read_whole_series(session: Session, series_ids: Sequence[int], short: Sequence[int]) -> dict[int, Summaries]:
    """Several series, with one query: the values of those in `short` (without times), the chunks of the others."""
    this_chunk = (col(ChunkData.series_id) == col(Chunk.series_id)) & (col(ChunkData.number) == col(Chunk.number))
    query = select(*_CHUNK_COLUMNS).add_columns(ChunkData.steps, ChunkData.values)
    query = query.outerjoin(ChunkData, this_chunk & col(Chunk.series_id).in_(short))
    query = query.where(col(Chunk.series_id).in_(series_ids)).order_by(col(Chunk.series_id), col(Chunk.number))
    whole: dict[int, Summaries] = {}
    for series_id, group in groupby(session.connection().execute(query), key=itemgetter(0)):
        *columns, steps, values = zip(*group, strict=True)
        if steps[0] is None:
            whole[series_id] = Chunks.of_columns(*columns).summaries
        else:
            block = unpacked(b"".join(steps), b"".join(values), b"")
            whole[series_id] = Summaries.of_points(Block(block.steps, block.values, np.zeros(len(block.steps))))
    return whole


def _read_chunks(session: Session, series_ids: Sequence[int], first: int | None, last: int | None) -> dict[int, Chunks]:
    where: list[ColumnElement[bool]] = [col(Chunk.series_id).in_(series_ids)]
    if first is not None:
        where.append(col(Chunk.last_step) >= first)
    if last is not None:
        where.append(col(Chunk.first_step) <= last)
    query = select(*_CHUNK_COLUMNS).where(*where).order_by(col(Chunk.series_id), col(Chunk.number))
    rows = session.connection().execute(query).all()
    if not rows:
        return {}
    ids, *columns = zip(*rows, strict=True)
    chunks = Chunks.of_columns(ids, *columns)
    starts = np.flatnonzero(np.diff(np.array(ids), prepend=-1)).tolist()
    return {ids[start]: chunks.rows(slice(start, end)) for start, end in pairwise([*starts, len(ids)])}


def _read_blocks(session: Session, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Block]:
    """The points of chunks, by series and number; of one that was deleted in the meantime, none."""
    columns = (ChunkData.series_id, ChunkData.number, ChunkData.steps, ChunkData.values, ChunkData.times)
    key = tuple_(ChunkData.series_id, ChunkData.number)
    blocks = dict.fromkeys(pairs, unpacked(b"", b"", b""))
    for start in range(0, len(pairs), PAIRS_PER_QUERY):
        query = select(*columns).where(key.in_(pairs[start : start + PAIRS_PER_QUERY]))  # type: ignore[call-overload]
        for series_id, number, *packed in session.connection().execute(query):
            blocks[series_id, number] = unpacked(*packed)
    return blocks
