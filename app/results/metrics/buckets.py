"""Reduces points, and summaries of many points each, to the buckets of a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from app.results.metrics.blocks import Block, finite_list

# Significant digits of the numbers in charts.
DIGITS = 6


@dataclass(frozen=True)
class Summaries:
    """Consecutive runs of points of one metric, of one point or of many: their number, and per run what charts show.

    `steps`, `times` (Unix seconds) and `last` are those of a run's last point. `mean`, `min` and `max` are of its
    finite values; they are NaN, as `last` may be, where there is no finite value.
    """

    counts: np.ndarray
    steps: np.ndarray
    times: np.ndarray
    mean: np.ndarray
    last: np.ndarray
    min: np.ndarray
    max: np.ndarray

    @classmethod
    def of_points(cls, block: Block) -> Self:
        """Runs of one point."""
        values = np.where(np.isfinite(block.values), block.values, np.nan)
        return cls(np.ones(len(values), dtype=np.int64), block.steps, block.times, *[values] * 4)

    def rows(self, index: slice) -> Self:
        """Some of the runs."""
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The runs of several parts, one after the other; `parts` is not empty."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def reduced(self, points: int) -> Summaries:
        """At most `points` runs, which hold about the same number of points each; means are weighted by it."""
        total = int(self.counts.sum())
        if len(self.counts) <= 1 or total <= points:
            return self
        if len(self.counts) == total:
            starts = -(-np.arange(points) * total // points)
        else:
            bucket = (np.cumsum(self.counts) - self.counts) * points // total
            starts = np.flatnonzero(np.diff(bucket, prepend=-1))
        ends = np.append(starts[1:], len(self.counts)) - 1
        known = ~np.isnan(self.mean)
        weights = np.add.reduceat(np.where(known, self.counts, 0), starts)
        sums = np.add.reduceat(np.where(known, self.mean * self.counts, 0.0), starts)
        mean = np.divide(sums, weights, out=np.full(len(starts), np.nan), where=weights > 0)
        # fmin and fmax ignore NaN wherever there is a number.
        low, high = np.fmin.reduceat(self.min, starts), np.fmax.reduceat(self.max, starts)
        counts = np.add.reduceat(self.counts, starts)
        return Summaries(counts, self.steps[ends], self.times[ends], mean, self.last[ends], low, high)


@dataclass(frozen=True)
class Chunks:
    """Stored chunks of one series in order, as their summaries; the first and the last may exceed a range of steps."""

    numbers: Sequence[int]
    first_steps: Sequence[int]
    summaries: Summaries

    @classmethod
    def of_columns(cls, _series_ids: Any, numbers: Any, first_steps: Any, counts: Any, steps: Any, *rest: Any) -> Self:
        """Columns of the table, without null except for values that are not finite."""
        integers = (np.array(column, dtype=np.int64) for column in (counts, steps))
        return cls(numbers, first_steps, Summaries(*integers, *(np.array(column, dtype=float) for column in rest)))

    def rows(self, index: slice) -> Self:
        """Some of the chunks."""
        return type(self)(self.numbers[index], self.first_steps[index], self.summaries.rows(index))

    def partial(self, first: int | None, last: int | None) -> list[int]:
        """The numbers of the chunks that exceed a range of steps (inclusive) which all of them touch."""
        exceed = [0] if first is not None and self.first_steps[0] < first else []
        exceed += [len(self.numbers) - 1] if last is not None and self.summaries.steps[-1] > last else []
        return [self.numbers[index] for index in dict.fromkeys(exceed)]

    def with_points(self, blocks: Mapping[int, Block], first: int | None, last: int | None) -> Summaries:
        """The runs between two steps: points for the chunks in `blocks` (all, or only at the ends), else chunks."""
        head, tail = 0, len(self.numbers)
        parts: list[Summaries] = []
        while head < tail and self.numbers[head] in blocks:
            head += 1
        while tail > head and self.numbers[tail - 1] in blocks:
            tail -= 1
        for start, end in ((0, head), (tail, len(self.numbers))):
            read = [blocks[number] for number in self.numbers[start:end]]
            columns = ([getattr(block, name) for block in read] for name in ("steps", "values", "times"))
            points = Block(*(np.concatenate(arrays) for arrays in columns)) if read else None
            parts.append(Summaries.of_points(between(points, first, last)) if points else self.summaries.rows(slice(0)))
        return Summaries.joined([parts[0], self.summaries.rows(slice(head, tail)), parts[1]])


def between(block: Block, first: int | None, last: int | None) -> Block:
    """The points between two steps (inclusive)."""
    inside = np.ones(len(block.steps), dtype=bool)
    if first is not None:
        inside &= block.steps >= first
    if last is not None:
        inside &= block.steps <= last
    return block.rows(inside)


def rounded(values: np.ndarray) -> list[float | None]:
    """Numbers with six significant digits as JSON can represent them: null for those that are not finite."""
    magnitude = np.abs(values)
    # Powers of ten are exact within this range, so the quotient is the number nearest to the decimal one.
    usual = (magnitude > 1e-16) & (magnitude < 1e21)
    exponent = DIGITS - 1 - np.floor(np.log10(magnitude, where=usual, out=np.zeros_like(magnitude)))
    scale = 10.0 ** np.abs(exponent)
    result = np.where(exponent >= 0, np.round(values * scale) / scale, np.round(values / scale) * scale)
    for index in np.flatnonzero(~usual & (magnitude > 0) & np.isfinite(magnitude)):
        result[index] = float(f"{values[index]:.{DIGITS}g}")
    return finite_list(result)
