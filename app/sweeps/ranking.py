"""Which points of a sweep are the best."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.sweeps.grid import SEEDS

Mode = Literal["max", "min"]
# Of these less is better.
LESS = ("loss", "nll", "ece", "disagreement")


@dataclass(frozen=True)
class Score:
    """A point, its job, and the value of its metric if it has one."""

    values: dict[str, Any]
    job_id: str | None
    value: float | None
    stopped_early: bool


def choose(
    kind: object, metric: str | None = None, mode: Mode | None = None, *, part: Literal["test", "val"] = "test"
) -> tuple[str, Mode]:
    """The metric by which jobs of a kind are compared, and whether more of it is better, unless they are given."""
    metric = metric or f"{part}/accuracy_{'expert_0' if kind == 'expert' else 'fused'}"
    words = metric.rpartition("/")[2].split("_")
    return metric, mode or ("min" if any(word in LESS for word in words) else "max")


def leaderboard(scores: Iterable[Score], mode: Mode) -> list[dict[str, Any]]:
    """Points grouped by all values but seeds, best mean first; groups without a value last, in their order."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(json.dumps(_without_seeds(score.values)), []).append(score)
    rows = [_row(group, mode) for group in groups.values()]
    sign = -1.0 if mode == "max" else 1.0
    return sorted(rows, key=lambda row: (row["mean"] is None, sign * (row["mean"] or 0.0)))


def _without_seeds(values: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in values.items() if path not in SEEDS}


def _row(group: Sequence[Score], mode: Mode) -> dict[str, Any]:
    known = [(score.value, score.job_id) for score in group if score.value is not None]
    values = [value for value, _ in known]
    best = (max if mode == "max" else min)(known, key=lambda pair: pair[0], default=(None, None))
    return {
        "values": _without_seeds(group[0].values),
        "n": len(values),
        "mean": statistics.fmean(values) if values else None,
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "best": best[1],
        "jobs": list(dict.fromkeys(score.job_id for score in group if score.job_id is not None)),
        "stopped_early": any(score.stopped_early for score in group),
    }


def as_csv(rows: Sequence[Mapping[str, Any]], paths: Iterable[str]) -> str:
    """A leaderboard with a column a field of the grid."""
    told = [path for path in paths if path not in SEEDS]
    plain = ("n", "mean", "std", "best", "stopped_early")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["rank", *told, *plain, "jobs"])
    for rank, row in enumerate(rows, start=1):
        values = [_cell(row["values"][path]) for path in told]
        found = ["" if row[name] is None else _cell(row[name]) for name in plain]
        writer.writerow([rank, *values, *found, " ".join(row["jobs"])])
    return out.getvalue()


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
