"""Tables of sweeps and their leaderboards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from app.cli.formatting import shorten
from app.cli.tables import STATE_STYLES, field_table, fitted_table, id_column, plain_table
from app.jobs.wording import count, interval, p_text

# Rows of a leaderboard that is printed as a part of something else.
TOP_ROWS = 20
MAX_VALUE = 40


def summary(sweep: Mapping[str, Any]) -> str:
    """The number of points in each state."""
    parts = [f"{count} {state}" for state, count in sweep["counts"].items() if count]
    parts += [f"{sweep['missing']} missing"] if sweep["missing"] else []
    early = f" ({sweep['stopped_early']} stopped early)" if sweep["stopped_early"] else ""
    reused = f"; {sweep['reused']} reused" if sweep["reused"] else ""
    return f"{', '.join(parts)}{early}{reused}"


def sweeps_table(sweeps: Iterable[Mapping[str, Any]]) -> Table:
    """Sweeps, one a row."""
    rows = (
        [*(sweep[name] for name in ("id", "name", "owner")), str(sweep["count"]), summary(sweep)] for sweep in sweeps
    )
    return fitted_table(("id", "name", "owner", "points", "states"), rows, {"name": 8, "owner": 8, "states": 16})


def leaderboard_table(sweep: Mapping[str, Any], top: int | None = None) -> Table:
    """The best points first: mean, standard deviation and interval over seeds, and the difference to the baseline."""
    rows: Sequence[Mapping[str, Any]] = sweep["leaderboard"][:top]
    paths = list(rows[0]["values"]) if rows else []
    shown = [name for name, title in _OPTIONAL.items() if any(row.get(name) is not None for row in rows)]
    columns = [_OPTIONAL[name] for name in shown]
    table = plain_table("", *_short_names(paths), "n", sweep["metric"], *columns, "", id_column("best job"))
    table.caption = "\n".join([_order(sweep), *([_DIFFERENCE] if "difference" in shown else [])])
    table.caption_justify = "left"
    for rank, row in enumerate(rows, start=1):
        values = [_format_value(row["values"][path]) for path in paths]
        mean = "" if row["mean"] is None else f"{row['mean']:.4f}"
        deviation = "" if row["std"] is None else f" ± {row['std']:.4f}"
        early = Text("stopped early", style=STATE_STYLES["cancelled"]) if row["stopped_early"] else ""
        others = [_optional(row, name, sweep["metric"]) for name in shown]
        table.add_row(str(rank), *values, str(row["n"]), f"{mean}{deviation}", *others, early, row["best"] or "")
    return table


# Columns that are left out where no row has a value.
_OPTIONAL = {"low": "95 % interval", "test_accuracy": "test accuracy", "difference": "minus baseline"}
_DIFFERENCE = (
    "Minus baseline: test accuracy in points with its 95 % interval and p; paired t test over seeds, or on images"
)


def _order(sweep: Mapping[str, Any]) -> str:
    """Which value of each run counts, and in which order the rows are."""
    metric = sweep["metric"]
    value = f"best value of {metric} over all epochs" if sweep["run_value"] == "best" else f"last value of {metric}"
    known = {"max": "higher is better", "min": "lower is better"}.get(sweep["better"])
    order = "highest first" if sweep["mode"] == "max" else "lowest first"
    return f"Of each run the {value}; {known or f'neither higher nor lower is better: {order}'}"


def _optional(row: Mapping[str, Any], name: str, metric: str) -> str:
    if name == "difference" and row.get("is_baseline"):
        return "baseline"
    if row.get(name) is None:
        return ""
    if name == "difference":
        return _difference(row["difference"])
    return interval(row["low"], row["high"], metric, places=4) if name == "low" else f"{row[name]:.4f}"


def _difference(difference: Mapping[str, Any]) -> str:
    """For example `-2.3 (-6.1 to 1.5), p = 0.12, 3 seeds`."""
    points = f"{100 * difference['value']:+.1f}"
    bounds = f"{100 * difference['low']:.1f} to {100 * difference['high']:.1f}"
    unit = difference["method"].removesuffix("s")
    return f"{points} ({bounds}), {p_text(difference['p'])}, {count(difference['n'], unit)}"


def _short_names(paths: Sequence[str]) -> list[str]:
    """The last part of each path where that is a name that no other path ends in, otherwise the whole path."""
    last = [path.rpartition(".")[2] for path in paths]
    return [
        name if not name.isdigit() and last.count(name) == 1 else path for name, path in zip(last, paths, strict=True)
    ]


def _format_value(value: Any) -> Text:
    return Text(shorten(value if isinstance(value, str) else json.dumps(value), MAX_VALUE))


def sweep_details(sweep: Mapping[str, Any]) -> Group:
    """One sweep: its fields, the states of its points, and its leaderboard."""
    names = ("id", "name", "owner", "created_at", "max_parallel")
    fields = field_table([*((name, sweep[name]) for name in names), ("points", f"{sweep['count']}: {summary(sweep)}")])
    hidden = len(sweep["leaderboard"]) - TOP_ROWS
    rest = [Text(f"and {hidden} more: mcn leaderboard {sweep['id']}")] if hidden > 0 else []
    return Group(fields, Text(""), leaderboard_table(sweep, TOP_ROWS), *rest)
