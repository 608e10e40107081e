"""Charts as the server draws them: paths in a square of 1,000 units, ticks, labels at the ends of lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from app.results.metrics.schemas import JobSeries, Latest
from app.web.views.panels import Line, Panel

POINTS = 100
SIZE = 1_000
# Bands are most of a page's bytes.
BUCKETS_PER_EDGE = 2
# The height of the plot in pixels, and what a label needs.
HEIGHT = 184
LABEL_HEIGHT = 14
MAX_LABELS = HEIGHT // LABEL_HEIGHT
# Rows of the texts of marks. Their room is estimated in pixels: the plot of a narrow page, and a character.
MARK_ROWS = 3
NARROW = 180
CHARACTER = 6.5
MARK_GAP = 4
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: its position in percent and its text."""

    at: str
    text: str


@dataclass(frozen=True)
class Mark:
    """A vertical line with a text at `y` pixels, which stands on its left if it is in the right half.

    `y` is null if there is no room for the text.
    """

    at: str
    text: str
    is_right: bool
    y: int | None


@dataclass(frozen=True)
class DrawnLine:
    """A line: its path, the band from minimum to maximum, single points, and the label at its end."""

    line: Line
    path: str
    band: str
    dots: list[tuple[str, str]]
    label_y: int | None


@dataclass(frozen=True)
class Drawing:
    """A chart in coordinates of its plot."""

    lines: list[DrawnLine]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Mark]


@dataclass(frozen=True)
class ValueRow:
    """A row of the table that says what a chart shows."""

    line: Line
    step: int | None
    latest: float | None
    best: float | None
    best_step: int | None
    is_best: bool
    count: int


def draw(
    panel: Panel, series: Mapping[tuple[str, str], JobSeries], marks: Sequence[tuple[int, str]] = ()
) -> Drawing | None:
    """Draws a panel; None if it has no finite value yet."""
    data = [(line, series[line.job, line.key]) for line in panel.lines if (line.job, line.key) in series]
    steps = [step for _, one in data for step in one.steps]
    values = [value for _, one in data for array in (one.mean, one.min or (), one.max or ()) for value in array]
    finite = [value for value in values if value is not None]
    if not steps or not finite:
        return None
    x_low, x_high = _widened(min(steps), max(steps))
    y_ticks = ticks(*_y_range(min(finite), max(finite), is_share=panel.is_share), 4)
    y_low, y_high = min(y_ticks[0], min(finite)), max(y_ticks[-1], max(finite))

    def to_x(step: float) -> float:
        return (step - x_low) / (x_high - x_low) * SIZE

    def to_y(value: float) -> float:
        return (1 - (value - y_low) / (y_high - y_low)) * SIZE

    drawn = [_line(line, one, to_x, to_y) for line, one in data]
    places = spread_labels([end for _, end in drawn])
    lines = [replace(one, label_y=place) for (one, _), place in zip(drawn, places, strict=True)]
    return Drawing(
        lines,
        [
            Tick(f"{to_x(tick) / 10:.1f}%", short_number(tick))
            for tick in ticks(x_low, x_high, 4)
            if x_low <= tick <= x_high
        ],
        [Tick(f"{to_y(tick) / 10:.1f}%", short_number(tick)) for tick in y_ticks],
        _marks(
            [(to_x(step), text) for step, text in marks if x_low <= step <= x_high],
            [to_y(value) for value in finite],
        ),
    )


def value_rows(panel: Panel, latest: Mapping[tuple[str, str], Latest]) -> list[ValueRow]:
    """The latest and the best value of each line; the best of all is marked where a direction is known."""
    rows: list[ValueRow] = []
    for line in panel.lines:
        one = latest.get((line.job, line.key))
        best = None if one is None or panel.better is None else one.max if panel.better == "max" else one.min
        best_step = None if one is None or best is None else one.best_step
        count = one.count if one else 0
        rows.append(
            ValueRow(line, one.step if one else None, one.value if one else None, best, best_step, False, count)
        )
    known = [row.best for row in rows if row.best is not None and row.line.is_ranked]
    if len(known) < 2 or not panel.is_comparable:
        return rows
    top = max(known) if panel.better == "max" else min(known)
    return [replace(row, is_best=row.best == top and row.line.is_ranked) for row in rows]


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers around a range, about `count` of them."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def short_number(value: float) -> str:
    """A number for an axis: 12k instead of 12000, 1e-5 instead of 0.00001."""
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if size >= 10_000:
        return f"{value / 1000:.4g}k"
    return f"{value:.4g}"


def spread_labels(ends: Sequence[float | None]) -> list[int | None]:
    """Positions of labels in pixels that do not overlap, near the ends of their lines; None where there is no room."""
    preferred = sorted((end * HEIGHT / SIZE, index) for index, end in enumerate(ends) if end is not None)
    placed: list[int | None] = [None] * len(ends)
    previous = -math.inf
    positions: list[float] = []
    for y, _ in preferred[:MAX_LABELS]:
        previous = max(y, previous + LABEL_HEIGHT)
        positions.append(previous)
    limit = float(HEIGHT)
    for at in range(len(positions) - 1, -1, -1):
        positions[at] = min(positions[at], limit)
        limit = positions[at] - LABEL_HEIGHT
    for (_, index), position in zip(preferred, positions, strict=False):
        placed[index] = round(position)
    return placed


def _marks(marks: Sequence[tuple[float, str]], values: Sequence[float]) -> list[Mark]:
    """Vertical marks whose texts do not overlap, at the top or the bottom, where they cover less of the lines."""
    band = MARK_ROWS * LABEL_HEIGHT * SIZE / HEIGHT
    is_at_top = sum(y < band for y in values) <= sum(y > SIZE - band for y in values)
    rows: list[list[tuple[float, float]]] = [[] for _ in range(MARK_ROWS)]
    drawn: list[Mark] = []
    for x, text in marks:
        is_right = x > SIZE / 2
        width = len(text) * CHARACTER + 2 * MARK_GAP
        at = x * NARROW / SIZE
        left, right = (at - width, at) if is_right else (at, at + width)
        row = next((k for k, texts in enumerate(rows) if all(right <= a or b <= left for a, b in texts)), None)
        y = None
        if row is not None:
            rows[row].append((left, right))
            offset = LABEL_HEIGHT * row + LABEL_HEIGHT // 2 + 1
            y = offset if is_at_top else HEIGHT - offset
        drawn.append(Mark(f"{x / 10:.1f}%", text, is_right, y))
    return drawn


# Parts of a smaller range would be rounded to zero.
_LEAST = 1e-300


def _widened(low: float, high: float) -> tuple[float, float]:
    if _LEAST < high - low < math.inf:
        return low, high
    margin = abs(low) * 0.05 if abs(low) > _LEAST else 1.0
    return low - margin, high + margin


def _y_range(low: float, high: float, *, is_share: bool) -> tuple[float, float]:
    """The values that the ticks surround: a constant share has the whole axis, other constants some room."""
    if is_share and low == high and 0 <= low <= 1:
        return 0.0, 1.0
    below, above = _widened(low, high)
    # An axis of values that are never negative does not begin below zero.
    return (max(0.0, below) if low >= 0 else below), above


def _line(line: Line, one: JobSeries, to_x: Scale, to_y: Scale) -> tuple[DrawnLine, float | None]:
    """A line without its label, and where it ends."""
    points = [(to_x(s), None if v is None else to_y(v)) for s, v in zip(one.steps, one.mean, strict=True)]
    segments = groupby(points, lambda point: point[1] is not None)
    path = "".join(_path([(x, y) for x, y in segment if y is not None]) for is_known, segment in segments if is_known)
    known = [(x, y) for x, y in points if y is not None]
    dots = [(f"{x / 10:.2f}%", f"{y / 10:.2f}%") for x, y in known] if one.counts is None and len(known) <= 30 else []
    end = known[-1][1] if known else None
    return DrawnLine(line, path, _band(one, to_x, to_y), dots, None), end


def _band(one: JobSeries, to_x: Scale, to_y: Scale) -> str:
    """The area from the minimum to the maximum of every `BUCKETS_PER_EDGE` buckets; empty if there is none."""
    if one.min is None or one.max is None:
        return ""
    buckets = zip(one.steps, one.min, one.max, strict=True)
    known = [(step, low, high) for step, low, high in buckets if low is not None and high is not None]
    if len(known) < 2:
        return ""
    groups = [known[start : start + BUCKETS_PER_EDGE] for start in range(0, len(known), BUCKETS_PER_EDGE)]
    # The area begins where the line does.
    steps = [known[0][0], *(group[-1][0] for group in groups)]
    lows = [min(low for _, low, _ in group) for group in (groups[0], *groups)]
    highs = [max(high for _, _, high in group) for group in (groups[0], *groups)]
    top = [(to_x(step), to_y(high)) for step, high in zip(steps, highs, strict=True)]
    bottom = [(to_x(step), to_y(low)) for step, low in zip(steps, lows, strict=True)]
    return _path(top + bottom[::-1]) + "Z"


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Points in whole units, each relative to the one before: equal distances between them compress well."""
    whole = [(round(x), round(y)) for x, y in points]
    moves = [f"{x - before_x} {y - before_y}" for (before_x, before_y), (x, y) in pairwise(whole)]
    return f"M{whole[0][0]} {whole[0][1]}" + ("l" + " ".join(moves) if moves else "")
