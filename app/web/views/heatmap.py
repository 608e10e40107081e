"""The heat map of a sweep: points grouped by two fields, with the mean over seeds in each cell."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.models import TERMINAL_STATES, State
from app.results.metrics.directions import Mode
from app.sweeps.schemas import PointView
from app.web.views.selection import compare_url
from app.web.views.sweep_fields import Grid, Layout, key, label

# Steps of the colour scale.
STEPS = 9
# More rows or columns than these do not fit a page, and are left out.
MAX_ROWS, MAX_COLS = 40, 24
# A paused job has begun, but holds no device until somebody resumes it.
NOT_STARTED = (State.waiting, State.queued, State.paused)


@dataclass
class Cell:
    """The points with one pair of values. `step` is the place of the mean on the colour scale, 0 to 8."""

    mean: float | None = None
    std: float | None = None
    n: int = 0
    points: int = 0
    active: int = 0
    pending: int = 0
    failed: int = 0
    stopped: int = 0
    step: int | None = None
    is_best: bool = False
    jobs: list[str] = field(default_factory=list)

    @property
    def url(self) -> str | None:
        """The page of its only job, or the comparison of its jobs."""
        if len(self.jobs) == 1:
            return f"/ui/jobs/{self.jobs[0]}"
        return compare_url(self.jobs)


@dataclass(frozen=True)
class Row:
    """A row of cells with the value that they share; the value is empty if only one field was swept."""

    value: str
    cells: list[Cell]


@dataclass(frozen=True)
class HeatMap:
    """A table of cells, with the ends of its colour scale: `worst` is the lightest colour, `best` the darkest."""

    columns: list[str]
    rows: list[Row]
    worst: float | None
    best: float | None
    hidden_rows: int
    hidden_columns: int


def heat_map(grid: Grid, points: Sequence[PointView], layout: Layout, mode: Mode) -> HeatMap:
    """Groups the points of one slice of the grid into cells, and colours these by their means."""
    columns = list(grid[layout.cols])
    rows = list(grid[layout.rows]) if layout.rows else []
    column_of = {key(value): index for index, value in enumerate(columns)}
    row_of = {key(value): index for index, value in enumerate(rows)}
    fixed = {path: key(grid[path][index]) for path, index in layout.at.items()}
    groups: list[list[list[PointView]]] = [[[] for _ in columns] for _ in rows or [None]]
    for point in points:
        if all(key(point.values[path]) == value for path, value in fixed.items()):
            row = row_of[key(point.values[layout.rows])] if layout.rows else 0
            groups[row][column_of[key(point.values[layout.cols])]].append(point)
    cells = [[_cell(group) for group in line] for line in groups]
    worst, best = _colour([cell for line in cells for cell in line], mode)
    shown = [line[:MAX_COLS] for line in cells[:MAX_ROWS]]
    names = [label(value) for value in rows] or [""]
    return HeatMap(
        columns=[label(value) for value in columns[:MAX_COLS]],
        rows=[Row(name, line) for name, line in zip(names, shown, strict=False)],
        worst=worst,
        best=best,
        hidden_rows=max(0, len(cells) - MAX_ROWS),
        hidden_columns=max(0, len(columns) - MAX_COLS),
    )


def _cell(points: Sequence[PointView]) -> Cell:
    values = [point.value for point in points if point.value is not None]
    return Cell(
        mean=statistics.fmean(values) if values else None,
        std=statistics.stdev(values) if len(values) > 1 else None,
        n=len(values),
        points=len(points),
        active=sum(is_active(point) for point in points),
        pending=sum(point.state in NOT_STARTED for point in points),
        failed=sum(point.state is State.failed for point in points),
        stopped=sum(point.stopped_early for point in points),
        jobs=list(dict.fromkeys(point.job for point in points if point.job is not None)),
    )


def is_active(point: PointView) -> bool:
    """Whether the job of a point has begun and not ended."""
    return point.state is not None and point.state not in (*TERMINAL_STATES, *NOT_STARTED)


def _colour(cells: Sequence[Cell], mode: Mode) -> tuple[float | None, float | None]:
    """Gives the cells their steps and marks the best one; returns the worst and the best mean."""
    means = [cell.mean for cell in cells if cell.mean is not None]
    if not means:
        return None, None
    low, high = min(means), max(means)
    worst, best = (low, high) if mode == "max" else (high, low)
    for cell in cells:
        if cell.mean is not None:
            fraction = (cell.mean - worst) / (best - worst) if best != worst else 0.5
            cell.step = min(STEPS - 1, int(fraction * STEPS))
    next(cell for cell in cells if cell.mean == best).is_best = True
    return worst, best
