"""Sweeps and their points as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from app.db import iso
from app.http import paging
from app.models import State, Sweep
from app.results.metrics.directions import Mode
from app.results.metrics.scores import accuracy_key
from app.settings import Settings
from app.sweeps import queries, ranking
from app.sweeps.differences import with_differences
from app.sweeps.queries import PointRow, SweepCounts
from app.sweeps.schemas import EarlyStopping, LeaderboardRow, PointPage, PointView, SweepPage, SweepSummary, SweepView


def sweep_view(session: Session, sweep: Sweep, metric: str | None = None, mode: Mode | None = None) -> SweepView:
    """A sweep with its leaderboard by a metric."""
    requested = mode
    metric, mode = ranking.choose(sweep.base.get("kind"), metric, mode)
    better = ranking.best_direction(metric, requested)
    leaderboard = ranking.leaderboard(_scores(session, sweep, metric, better), mode)
    return _view(session, sweep, metric, mode, better, leaderboard)


def compared_view(
    session: Session,
    settings: Settings,
    sweep: Sweep,
    metric: str | None = None,
    mode: Mode | None = None,
    *,
    baseline: str | None = None,
) -> SweepView:
    """The same, with the difference of every row to the first one, or to that of the job `baseline`.

    May read files of predictions. Raises Invalid for a job that is not one of the sweep's.
    """
    requested = mode
    metric, mode = ranking.choose(sweep.base.get("kind"), metric, mode)
    better = ranking.best_direction(metric, requested)
    scores = _scores(session, sweep, metric, better)
    rows = ranking.leaderboard(scores, mode)
    rows = with_differences(session, settings, sweep.id, rows, scores, baseline or None)
    return _view(session, sweep, metric, mode, better, rows)


def _view(
    session: Session, sweep: Sweep, metric: str, mode: Mode, better: Mode | None, leaderboard: list[LeaderboardRow]
) -> SweepView:
    counts = queries.count_points(session, [sweep.id])[sweep.id]
    return SweepView(
        **_summary(sweep, counts),
        base=sweep.base,
        metric=metric,
        mode=mode,
        better=better,
        run_value=ranking.run_value(metric, better),
        leaderboard=leaderboard,
    )


def best_jobs(session: Session, sweep: Sweep, number: int) -> set[str]:
    """The jobs of the best rows of a sweep's leaderboard, with all their seeds; rows without a value are not best."""
    metric, mode = ranking.choose(sweep.base.get("kind"))
    rows = ranking.leaderboard(_scores(session, sweep, metric, mode), mode)
    return {job_id for row in rows[:number] if row.mean is not None for job_id in row.jobs}


def _scores(session: Session, sweep: Sweep, metric: str, better: Mode | None) -> list[ranking.Score]:
    tested = queries.latest_values(session, sweep.id, accuracy_key(sweep.base.get("kind"), "test"))
    return [
        ranking.Score(
            row.values, row.job_id, _value(row, metric, better), _stopped_early(row), tested.get(row.job_id or "")
        )
        for row in queries.list_points(session, sweep.id, metric)
    ]


def sweep_page(session: Session, *, limit: int, cursor: str | None) -> SweepPage:
    """A page of sweeps, newest first."""
    sweeps = queries.list_sweeps(session, limit=limit + 1, cursor=cursor)
    page = paging.page(sweeps, limit, lambda sweep: paging.encode(sweep.id))
    return SweepPage(items=_summaries(session, page["items"]), next_cursor=page["next_cursor"])


def point_page(
    session: Session, sweep: Sweep, *, metric: str | None, mode: Mode | None, limit: int, cursor: str | None
) -> PointPage:
    """A page of a sweep's points, in the order of the grid."""
    requested = mode
    metric, mode = ranking.choose(sweep.base.get("kind"), metric, mode)
    better = ranking.best_direction(metric, requested)
    after = paging.decode(cursor, [int])[0] if cursor else -1
    rows = list(queries.list_points(session, sweep.id, metric, after=after, limit=limit + 1))
    page = paging.page(rows, limit, lambda row: paging.encode(row.number))
    items = [
        PointView(
            number=row.number,
            values=row.values,
            job=row.job_id,
            state=None if row.state is None else State(row.state),
            reused=row.reused,
            stopped_early=_stopped_early(row),
            value=_value(row, metric, better),
        )
        for row in page["items"]
    ]
    return PointPage(items=items, next_cursor=page["next_cursor"])


def _summaries(session: Session, sweeps: Sequence[Sweep]) -> list[SweepSummary]:
    counts = queries.count_points(session, [sweep.id for sweep in sweeps])
    return [SweepSummary(**_summary(sweep, counts[sweep.id])) for sweep in sweeps]


def _summary(sweep: Sweep, counts: SweepCounts) -> dict[str, Any]:
    base = f"/sweeps/{sweep.id}"
    early_stopping = sweep.early_stopping
    return {
        "id": sweep.id,
        "name": sweep.name,
        "owner": sweep.owner,
        "created_at": iso(sweep.created_at),
        "grid": sweep.grid,
        "max_parallel": sweep.max_parallel,
        "points_per_task": sweep.points_per_task,
        "early_stopping": None if early_stopping is None else EarlyStopping(**early_stopping),
        "count": sum(counts.states.values()),
        "counts": {state: counts.states.get(state.value, 0) for state in State},
        "missing": counts.states.get(None, 0),
        "reused": counts.reused,
        "stopped_early": counts.stopped_early,
        "links": {
            "self": base,
            "points": f"{base}/points",
            "leaderboard": f"{base}/leaderboard.csv",
            "jobs": f"/jobs?sweep={sweep.id}",
        },
    }


def _stopped_early(row: PointRow) -> bool:
    return queries.stopped_early(row.state, row.message)


def _value(row: PointRow, metric: str, better: Mode | None) -> float | None:
    """A point's score: the best or the last value of its run."""
    if ranking.run_value(metric, better) == "last":
        return row.last
    return row.high if better == "max" else row.low
