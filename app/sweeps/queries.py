"""Reading sweeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col, select

from app.db import iso
from app.http import paging
from app.http.errors import NotFound
from app.models import Job, Series, State, Sweep, SweepPoint
from app.sweeps import ranking

# How the message of a job begins that lagged behind in its sweep.
STOPPED_EARLY = "stopped early: "


def stopped_early(state: str | None, message: str | None) -> bool:
    """Whether a job was ended because it lagged behind."""
    return state in (State.cancelling, State.cancelled) and (message or "").startswith(STOPPED_EARLY)


def get_sweep(session: Session, sweep_id: str, *, lock: bool = False) -> Sweep:
    """A sweep, with `lock` for this transaction alone; raises NotFound."""
    known = sweep_id.isascii() and "\0" not in sweep_id
    sweep = session.get(Sweep, sweep_id, with_for_update=True if lock else None) if known else None
    if sweep is None:
        raise NotFound(f"there is no sweep {sweep_id[:80]!r}: `GET /sweeps` lists those that are")
    return sweep


def list_sweeps(session: Session, *, limit: int, cursor: str | None) -> dict[str, Any]:
    """A page of sweeps, newest first."""
    statement = select(Sweep).order_by(col(Sweep.id).desc()).limit(limit + 1)
    if cursor:
        statement = statement.where(col(Sweep.id) < paging.decode(cursor, [str])[0])
    shown = paging.page(list(session.exec(statement)), limit, lambda sweep: paging.encode(sweep.id))
    return shown | {"items": summaries(session, shown["items"])}


def summaries(session: Session, sweeps: list[Sweep]) -> list[dict[str, Any]]:
    """Sweeps as lists show them, in two queries however many they are."""
    states: dict[str, dict[str | None, int]] = {sweep.id: {} for sweep in sweeps}
    reused, early = dict.fromkeys(states, 0), dict.fromkeys(states, 0)
    points = col(SweepPoint.sweep_id).in_(states)
    count, found = func.count(), func.count().filter(col(SweepPoint.reused))
    grouped = select(SweepPoint.sweep_id, Job.state, count, found).outerjoin(Job, col(Job.id) == col(SweepPoint.job_id))
    for sweep_id, state, number, there in session.exec(
        grouped.where(points).group_by(SweepPoint.sweep_id, col(Job.state))
    ):
        states[sweep_id][state] = number
        reused[sweep_id] += there
    stopped = col(Job.state).in_((State.cancelling, State.cancelled)) & col(Job.message).startswith(STOPPED_EARLY)
    behind = select(SweepPoint.sweep_id, count).join(Job, col(Job.id) == col(SweepPoint.job_id)).where(points, stopped)
    early |= dict(session.exec(behind.group_by(SweepPoint.sweep_id)).all())
    return [_summary(sweep, states[sweep.id], reused[sweep.id], early[sweep.id]) for sweep in sweeps]


def _summary(sweep: Sweep, states: dict[str | None, int], reused: int, early: int) -> dict[str, Any]:
    base = f"/sweeps/{sweep.id}"
    return {
        "id": sweep.id,
        "name": sweep.name,
        "owner": sweep.owner,
        "created_at": iso(sweep.created_at),
        "grid": sweep.grid,
        "max_parallel": sweep.max_parallel,
        "early_stopping": sweep.early_stopping,
        "count": sum(states.values()),
        "counts": {state.value: states.get(state.value, 0) for state in State},
        "missing": states.get(None, 0),
        "reused": reused,
        "stopped_early": early,
        "links": {
            "self": base,
            "points": f"{base}/points",
            "leaderboard": f"{base}/leaderboard.csv",
            "jobs": f"/jobs?sweep={sweep.id}",
        },
    }


def view(session: Session, sweep: Sweep, metric: str | None = None, mode: ranking.Mode | None = None) -> dict[str, Any]:
    """A sweep as clients see it."""
    metric, mode = ranking.choose(sweep.base.get("kind"), metric, mode)
    shown = summaries(session, [sweep])[0] | {"base": sweep.base, "metric": metric, "mode": mode}
    return shown | {"leaderboard": ranking.leaderboard(_scores(session, sweep.id, metric, mode), mode)}


class _Found(NamedTuple):
    """What is known of a point."""

    number: int
    given: dict[str, Any]
    job_id: str | None
    reused: bool
    state: str | None
    message: str | None
    last: float | None
    low: float | None
    high: float | None


def _points(
    session: Session, sweep_id: str, metric: str, after: int = -1, limit: int | None = None
) -> Iterable[_Found]:
    columns = (SweepPoint.number, SweepPoint.given, SweepPoint.job_id, SweepPoint.reused, Job.state, Job.message)
    values = (Series.last, Series.min, Series.max)
    of_point = (col(Series.job_id) == col(SweepPoint.job_id)) & (col(Series.key) == metric)
    query = select(*columns, *values).outerjoin(Job, col(Job.id) == col(SweepPoint.job_id)).outerjoin(Series, of_point)  # type: ignore[call-overload]
    query = (
        query.where(SweepPoint.sweep_id == sweep_id, col(SweepPoint.number) > after)
        .order_by(col(SweepPoint.number))
        .limit(limit)
    )
    return (_Found(*row) for row in session.exec(query))


def _value(found: _Found, metric: str, mode: ranking.Mode) -> float | None:
    """What counts of a metric: of validation the best so far, by which components are chosen; else the latest."""
    if metric.startswith("val/"):
        return found.high if mode == "max" else found.low
    return found.last


def _scores(session: Session, sweep_id: str, metric: str, mode: ranking.Mode) -> list[ranking.Score]:
    return [
        ranking.Score(row.given, row.job_id, _value(row, metric, mode), stopped_early(row.state, row.message))
        for row in _points(session, sweep_id, metric)
    ]


def list_points(
    session: Session, sweep: Sweep, *, metric: str | None, mode: ranking.Mode | None, limit: int, cursor: str | None
) -> dict[str, Any]:
    """A page of a sweep's points, in their order."""
    metric, mode = ranking.choose(sweep.base.get("kind"), metric, mode)
    after = paging.decode(cursor, [int])[0] if cursor else -1
    found = list(_points(session, sweep.id, metric, after, limit + 1))
    shown = paging.page(found, limit, lambda row: paging.encode(row.number))
    items = [
        {
            "number": row.number,
            "values": row.given,
            "job": row.job_id,
            "state": row.state,
            "reused": row.reused,
            "stopped_early": stopped_early(row.state, row.message),
            "value": _value(row, metric, mode),
        }
        for row in shown["items"]
    ]
    return shown | {"items": items}
