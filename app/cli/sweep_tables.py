"""What the command line prints of sweeps: tables, and sweeps that are followed as they go."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from app.cli.client import TERMINAL_STATES, Api
from app.cli.tables import COLORS, patiently

POLL_S = 0.5
# So many rows of a leaderboard are shown where it is not asked for itself.
TOP = 20


def is_sweep(its_id: str) -> bool:
    """Whether an id is that of a sweep."""
    return its_id.startswith("swp_")


def line(sweep: Mapping[str, Any]) -> str:
    """How many points are in which state."""
    told = [f"{count} {state}" for state, count in sweep["counts"].items() if count]
    told += [f"{sweep['missing']} missing"] if sweep["missing"] else []
    early = f" ({sweep['stopped_early']} stopped early)" if sweep["stopped_early"] else ""
    reused = f"; {sweep['reused']} reused" if sweep["reused"] else ""
    return f"{', '.join(told)}{early}{reused}"


def has_ended(sweep: Mapping[str, Any]) -> bool:
    """Whether no point of it is still to come."""
    return bool(sum(sweep["counts"][state] for state in TERMINAL_STATES) + sweep["missing"] == sweep["count"])


def num_bad(sweep: Mapping[str, Any]) -> int:
    """The points that have ended without a result, but for those that were stopped early."""
    counts = sweep["counts"]
    return int(
        counts["failed"] + sweep["missing"] + counts["cancelled"] + counts["cancelling"] - sweep["stopped_early"]
    )


def sweeps_table(sweeps: Iterable[Mapping[str, Any]]) -> Table:
    """Sweeps, one a row."""
    whole = [Column(name, no_wrap=True) for name in ("id", "name", "owner", "points")]
    table = Table(*whole, Column(""), box=None, pad_edge=False)
    for sweep in sweeps:
        table.add_row(sweep["id"], sweep["name"], sweep["owner"], str(sweep["count"]), line(sweep))
    return table


def leaderboard_table(sweep: Mapping[str, Any], top: int | None = None) -> Table:
    """A leaderboard, best first."""
    rows: Sequence[Mapping[str, Any]] = sweep["leaderboard"][:top]
    paths = list(rows[0]["values"]) if rows else []
    columns = [*(path.rpartition(".")[2] if _is_alone(path, paths) else path for path in paths), "n", sweep["metric"]]
    table = Table("", *(Column(name, no_wrap=True) for name in columns), "", "best job", box=None, pad_edge=False)
    for rank, row in enumerate(rows, start=1):
        values = [_word(row["values"][path]) for path in paths]
        mean = "" if row["mean"] is None else f"{row['mean']:.4f}"
        spread = "" if row["std"] is None else f" ± {row['std']:.4f}"
        early = Text("stopped early", style=COLORS["cancelled"]) if row["stopped_early"] else ""
        table.add_row(str(rank), *values, str(row["n"]), f"{mean}{spread}", early, row["best"] or "")
    return table


def _is_alone(path: str, paths: Sequence[str]) -> bool:
    last = path.rpartition(".")[2]
    return not last.isdigit() and sum(other.rpartition(".")[2] == last for other in paths) == 1


def _word(value: Any) -> Text:
    shown = value if isinstance(value, str) else json.dumps(value)
    return Text(shown if len(shown) <= 40 else f"{shown[:39]}…")


def sweep_table(sweep: Mapping[str, Any]) -> Group:
    """One sweep: what it is, how far, and the best of it."""
    table = Table.grid(padding=(0, 2))
    for name in ("id", "name", "owner", "created_at", "max_parallel"):
        if sweep[name] not in (None, ""):
            table.add_row(name, Text(str(sweep[name])))
    table.add_row("points", f"{sweep['count']}: {line(sweep)}")
    more = len(sweep["leaderboard"]) - TOP
    rest = [Text(f"and {more} more: mcn leaderboard {sweep['id']}")] if more > 0 else []
    return Group(table, Text(""), leaderboard_table(sweep, TOP), *rest)


def follow(api: Api, sweep_id: str, console: Console, metric: str | None = None) -> dict[str, Any]:
    """Shows a sweep until all its jobs have ended: live on a terminal, a line a change elsewhere. Gives its end."""
    said = ""
    live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
    try:
        if live:
            live.start()
        while True:
            sweep: dict[str, Any] = patiently(lambda: api.get(f"/sweeps/{sweep_id}", metric=metric))
            if live:
                live.update(sweep_table(sweep))
            elif line(sweep) != said:
                said = line(sweep)
                console.print(said, markup=False, highlight=False, soft_wrap=True)
            if has_ended(sweep):
                return sweep
            time.sleep(POLL_S)
    finally:
        if live:
            live.stop()


def watch(api: Api, sweep_id: str, out: Console, err: Console, metric: str | None = None) -> bool:
    """Follows a sweep to its end and shows what is best; says whether all of it has a result or was stopped early."""
    ended = follow(api, sweep_id, out, metric)
    out.print(leaderboard_table(ended))
    if bad := num_bad(ended):
        err.print(f"{bad} of {ended['count']} points have no result: `mcn jobs --sweep {sweep_id}` lists their jobs")
    return not bad
