"""Ranks the points of a sweep by a metric."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.http.csv_cells import safe_cell
from app.results.metrics.directions import Mode, direction, known_direction
from app.results.metrics.scores import accuracy_key
from app.results.statistics.seeds import mean_interval
from app.sweeps.grid import SEEDS
from app.sweeps.schemas import LeaderboardRow


@dataclass(frozen=True)
class Score:
    """A point with its job, the value of the metric and the test accuracy; None if it has not been measured."""

    values: dict[str, Any]
    job_id: str | None
    value: float | None
    stopped_early: bool
    test_accuracy: float | None = None


def choose(
    kind: object, metric: str | None = None, mode: Mode | None = None, *, part: Literal["test", "val"] | None = None
) -> tuple[str, Mode]:
    """The metric that compares jobs of a kind, and whether higher values are better.

    By default it is the accuracy on validation images: who picks the best of many by its test accuracy has chosen on
    test, and the best figure is then too good. An evaluation has only test images.
    """
    metric = metric or accuracy_key(kind, part or ("test" if kind == "evaluate" else "val"))
    return metric, mode or direction(metric)


def best_direction(metric: str, mode: Mode | None = None) -> Mode | None:
    """Which values of a metric are better, as a client says or as is known; None where neither."""
    return mode or known_direction(metric)


def run_value(metric: str, better: Mode | None) -> Literal["best", "last"]:
    """What stands for a run: the best validation value so far, as for the choice of components; otherwise the last."""
    return "best" if better is not None and metric.startswith("val/") else "last"


def leaderboard(scores: Iterable[Score], mode: Mode) -> list[LeaderboardRow]:
    """Points grouped by all values except seeds: best mean first, groups without a value last in grid order."""
    rows = [_row(group, mode) for group in grouped(scores).values()]
    sign = -1.0 if mode == "max" else 1.0
    return sorted(rows, key=lambda row: (row.mean is None, sign * (row.mean or 0.0)))


def grouped(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """The points of each row, by the key of the row, in grid order."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(row_key(_without_seeds(score.values)), []).append(score)
    return groups


def row_key(values: Mapping[str, Any]) -> str:
    """What tells a row from others: its values, which have no seeds."""
    return json.dumps(values)


def seed_key(values: Mapping[str, Any]) -> str:
    """What tells the points of one row from each other."""
    return json.dumps([values.get(path) for path in SEEDS])


def _without_seeds(values: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in values.items() if path not in SEEDS}


def _row(group: Sequence[Score], mode: Mode) -> LeaderboardRow:
    measured = [(score.value, score.job_id) for score in group if score.value is not None]
    values = [value for value, _ in measured]
    interval = mean_interval(values)
    tested = [score.test_accuracy for score in group if score.test_accuracy is not None]
    best = (max if mode == "max" else min)(measured, key=lambda pair: pair[0], default=(None, None))
    return LeaderboardRow(
        values=_without_seeds(group[0].values),
        n=len(values),
        mean=statistics.fmean(values) if values else None,
        std=statistics.stdev(values) if len(values) > 1 else None,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        test_accuracy=statistics.fmean(tested) if tested else None,
        best=best[1],
        jobs=list(dict.fromkeys(score.job_id for score in group if score.job_id is not None)),
        stopped_early=any(score.stopped_early for score in group),
    )


def as_csv(rows: Sequence[LeaderboardRow], paths: Iterable[str], metric: str) -> str:
    """A leaderboard by a metric as CSV, with one column per swept field except seeds."""
    fields = [path for path in paths if path not in SEEDS]
    columns = ("n", "mean", "std", "low", "high", "test_accuracy", "best", "stopped_early")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    differences = ("value", "low", "high", "p", "method")
    names = ["minus_baseline", *(f"minus_baseline_{name}" for name in differences[1:])]
    writer.writerow(["rank", *fields, "metric", *columns, "jobs", *names])
    for rank, row in enumerate(rows, start=1):
        values = [_cell(row.values[path]) for path in fields]
        numbers = ["" if value is None else _cell(value) for value in (getattr(row, name) for name in columns)]
        compared = ["" if row.difference is None else getattr(row.difference, name) for name in differences]
        writer.writerow([rank, *values, safe_cell(metric), *numbers, " ".join(row.jobs), *compared])
    return out.getvalue()


def _cell(value: Any) -> str:
    return safe_cell(value) if isinstance(value, str) else json.dumps(value)
