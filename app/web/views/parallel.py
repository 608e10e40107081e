"""Parallel coordinates of a sweep: an axis for each swept field and one for the metric, a line for each point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.results.metrics.directions import Mode
from app.sweeps.schemas import LeaderboardRow
from app.web.views import words
from app.web.views.heatmap import STEPS
from app.web.views.sweep_fields import Grid, key, label

# The best points are drawn; more lines than these hide one another.
MAX_LINES = 150
# The place of an axis, in units of the drawing.
AXIS_GAP, TOP, BOTTOM, MARGIN = 180, 34, 244, 80
# Values that have a label on an axis, and the characters of one.
MAX_TICKS, MAX_LABEL = 9, 18


@dataclass(frozen=True)
class Tick:
    """A labelled value of an axis."""

    y: float
    text: str


@dataclass(frozen=True)
class Axis:
    """A swept field, or the metric at the right."""

    name: str
    x: int
    ticks: list[Tick]


@dataclass(frozen=True)
class Line:
    """A point of the sweep, averaged over seeds. `step` is its colour, 0 (worst) to 8 (best)."""

    path: str
    step: int
    title: str
    is_best: bool


@dataclass(frozen=True)
class Parallel:
    """A drawing of this size. The best line comes last, so that it lies above the others."""

    width: int
    height: int
    axes: list[Axis]
    lines: list[Line]
    hidden: int


def parallel(
    grid: Grid, leaderboard: Sequence[LeaderboardRow], names: dict[str, str], metric: str, mode: Mode
) -> Parallel | None:
    """The drawing of a leaderboard over all fields with several values; None if no row has a value."""
    measured = [row for row in leaderboard if row.mean is not None]
    fields = [path for path in grid if path in leaderboard[0].values and len(grid[path]) > 1] if leaderboard else []
    if not measured or not fields:
        return None
    ranked = measured[:MAX_LINES]
    means = [row.mean for row in ranked if row.mean is not None]
    worst, best = (min(means), max(means)) if mode == "max" else (max(means), min(means))
    decimals = words.decimals(means, metric)
    lines = []
    for row in reversed(ranked):
        fraction = _fraction(row.mean or 0.0, worst, best)
        places = [(_x(index), _y(_place(grid[path], row.values[path]))) for index, path in enumerate(fields)]
        places.append((_x(len(fields)), _y(fraction)))
        values = ", ".join(f"{names[path]} {label(row.values[path])[:60]}" for path in fields)
        lines.append(
            Line(
                path="M" + "L".join(f"{x} {y:g}" for x, y in places),
                step=min(STEPS - 1, int(fraction * STEPS)),
                title=f"{values}: {words.fixed(row.mean, decimals)}",
                is_best=row is ranked[0],
            )
        )
    axes = [Axis(names[path], _x(index), _ticks(grid[path])) for index, path in enumerate(fields)]
    ends = {0.0: worst, 1.0: best} if worst != best else {0.5: best}
    ticks = [Tick(_y(fraction), words.fixed(value, decimals)) for fraction, value in ends.items()]
    axes.append(Axis(metric, _x(len(fields)), ticks))
    width = _x(len(fields)) + MARGIN
    return Parallel(width, BOTTOM + 16, axes, lines, len(measured) - len(ranked))


def _x(index: int) -> int:
    return MARGIN + index * AXIS_GAP


def _y(fraction: float) -> float:
    return round(BOTTOM - fraction * (BOTTOM - TOP), 1)


def _fraction(value: float, worst: float, best: float) -> float:
    return (value - worst) / (best - worst) if best != worst else 0.5


def _place(values: Sequence[Any], value: Any) -> float:
    """Where a value stands on its axis: values are evenly spaced, numbers in ascending order from below."""
    order = _ordered(values)
    return order.index(key(value)) / (len(order) - 1)


def _ordered(values: Sequence[Any]) -> list[str]:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        values = sorted(values)
    return [key(value) for value in values]


def _ticks(values: Sequence[Any]) -> list[Tick]:
    texts = {key(value): label(value) for value in values}
    order = _ordered(values)
    every = -(-len(order) // MAX_TICKS)
    return [
        Tick(_y(index / (len(order) - 1)), _shortened(texts[item]))
        for index, item in enumerate(order)
        if index % every == 0
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…"
