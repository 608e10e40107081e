"""Watches a sweep until all of its points have ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.live import Live

from app.cli.client import TERMINAL_STATES, Api
from app.cli.sweep_tables import leaderboard_table, summary, sweep_details
from app.cli.terminal import err, out

# Sweeps have no event stream.
POLL_S = 1.0


def has_ended(sweep: Mapping[str, Any]) -> bool:
    """Whether every point is in a terminal state or has lost its job."""
    return bool(sum(sweep["counts"][state] for state in TERMINAL_STATES) + sweep["missing"] == sweep["count"])


def num_without_result(sweep: Mapping[str, Any]) -> int:
    """The number of points that ended without a result and were not stopped early."""
    counts = sweep["counts"]
    ended = counts["failed"] + counts["cancelled"] + counts["cancelling"] + sweep["missing"]
    return int(ended - sweep["stopped_early"])


def follow_sweep(api: Api, sweep_id: str, console: Console, metric: str | None = None) -> dict[str, Any]:
    """Shows a sweep until it has ended: live on a terminal, otherwise one line per change. Returns the ended sweep."""
    sweep: dict[str, Any] = {}
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            for sweep in _snapshots(api, sweep_id, metric):
                live.update(sweep_details(sweep))
        return sweep
    line = ""
    for sweep in _snapshots(api, sweep_id, metric):
        if summary(sweep) != line:
            line = summary(sweep)
            console.print(line)
    return sweep


def _snapshots(api: Api, sweep_id: str, metric: str | None) -> Iterator[dict[str, Any]]:
    while True:
        sweep: dict[str, Any] = api.get_patiently(f"/sweeps/{sweep_id}", metric=metric)
        yield sweep
        if has_ended(sweep):
            return
        time.sleep(POLL_S)


def watch_sweep(api: Api, sweep_id: str, metric: str | None = None) -> bool:
    """Follows a sweep and prints its leaderboard; returns whether every point has a result or was stopped early."""
    sweep = follow_sweep(api, sweep_id, out, metric)
    out.print(leaderboard_table(sweep))
    if missing := num_without_result(sweep):
        err.print(f"{missing} of {sweep['count']} points have no result: `mcn jobs --sweep {sweep_id}` lists the jobs")
    return not missing
