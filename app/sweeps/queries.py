"""All SQL about sweeps. Nothing here commits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, insert, literal, update
from sqlmodel import Session, SQLModel, col, select

from app.http import paging
from app.http.errors import NotFound
from app.models import TERMINAL_STATES, Event, Job, Series, State, Sweep, SweepPoint

# The message of a job that early stopping ended begins with this.
STOPPED_EARLY = "stopped early: "


def stopped_early(state: str | None, message: str | None) -> bool:
    """Whether early stopping ended a job."""
    return state in (State.cancelling, State.cancelled) and (message or "").startswith(STOPPED_EARLY)


def get_sweep(session: Session, sweep_id: str) -> Sweep:
    """A sweep; raises NotFound."""
    sweep = session.get(Sweep, sweep_id) if sweep_id.isascii() and "\0" not in sweep_id else None
    if sweep is None:
        raise NotFound(f"there is no sweep {sweep_id[:80]!r}: `mcn sweeps` or `GET /sweeps` lists the existing ones")
    return sweep


def lock_sweep(session: Session, sweep_id: str) -> None:
    """Nobody else claims, changes or adds jobs of this sweep until the commit."""
    session.exec(select(Sweep.id).where(Sweep.id == sweep_id).with_for_update(key_share=True)).all()
    jobs = select(Job.id).where(Job.sweep == sweep_id).order_by(col(Job.id))
    session.exec(jobs.with_for_update(key_share=True)).all()


def list_sweeps(session: Session, *, limit: int, cursor: str | None) -> list[Sweep]:
    """Up to `limit` sweeps after a cursor, newest first."""
    statement = select(Sweep).order_by(col(Sweep.id).desc()).limit(limit)
    if cursor:
        statement = statement.where(col(Sweep.id) < paging.decode(cursor, [str])[0])
    return list(session.exec(statement))


class SweepCounts(NamedTuple):
    """How many points of a sweep are in which state (None: the job was deleted), are reused, were stopped early."""

    states: dict[str | None, int]
    reused: int
    stopped_early: int


def count_points(session: Session, sweep_ids: Collection[str]) -> dict[str, SweepCounts]:
    """The counts of each sweep, with two queries for any number of sweeps."""
    states: dict[str, dict[str | None, int]] = {sweep_id: {} for sweep_id in sweep_ids}
    reused, early = dict.fromkeys(states, 0), dict.fromkeys(states, 0)
    selected = col(SweepPoint.sweep_id).in_(states)
    count, reused_count = func.count(), func.count().filter(col(SweepPoint.reused))
    by_state = select(SweepPoint.sweep_id, Job.state, count, reused_count)
    by_state = by_state.outerjoin(Job, col(Job.id) == col(SweepPoint.job_id)).where(selected)
    for sweep_id, state, number, number_reused in session.exec(by_state.group_by(SweepPoint.sweep_id, col(Job.state))):
        states[sweep_id][state] = number
        reused[sweep_id] += number_reused
    stopped = col(Job.state).in_((State.cancelling, State.cancelled)) & col(Job.message).startswith(STOPPED_EARLY)
    behind = select(SweepPoint.sweep_id, count).join(Job, col(Job.id) == col(SweepPoint.job_id))
    early |= dict(session.exec(behind.where(selected, stopped).group_by(SweepPoint.sweep_id)).all())
    return {sweep_id: SweepCounts(states[sweep_id], reused[sweep_id], early[sweep_id]) for sweep_id in states}


class PointRow(NamedTuple):
    """A point with its job and the summary of one metric."""

    number: int
    values: dict[str, Any]
    job_id: str | None
    reused: bool
    state: str | None
    message: str | None
    last: float | None
    low: float | None
    high: float | None


def list_points(
    session: Session, sweep_id: str, metric: str, *, after: int = -1, limit: int | None = None
) -> Iterator[PointRow]:
    """The points of a sweep with numbers above `after`, in order."""
    columns = (SweepPoint.number, SweepPoint.point_values, SweepPoint.job_id, SweepPoint.reused, Job.state, Job.message)
    summary = (Series.last, Series.min, Series.max)
    of_point = (col(Series.job_id) == col(SweepPoint.job_id)) & (col(Series.key) == metric)
    query = select(*columns, *summary).outerjoin(Job, col(Job.id) == col(SweepPoint.job_id)).outerjoin(Series, of_point)  # type: ignore[call-overload]
    # A literal has the type of its value: PostgreSQL cannot cast a cursor beyond 32 bits to the type of the column.
    query = query.where(SweepPoint.sweep_id == sweep_id, col(SweepPoint.number) > literal(after))
    return (PointRow(*row) for row in session.exec(query.order_by(col(SweepPoint.number)).limit(limit)))


def latest_values(session: Session, sweep_id: str, metric: str) -> dict[str, float]:
    """The latest value of a metric of a sweep's jobs, by job id; jobs without one are left out."""
    query = select(Series.job_id, Series.last).join(SweepPoint, col(SweepPoint.job_id) == col(Series.job_id))
    query = query.where(SweepPoint.sweep_id == sweep_id, Series.key == metric, col(Series.last).is_not(None))
    return {job_id: value for job_id, value in session.exec(query) if value is not None}


class TestData(NamedTuple):
    """The data set of a job, and the digest of its content if it was recorded."""

    dataset: str
    data_sha256: str | None


def test_data(session: Session, sweep_id: str) -> dict[str, TestData]:
    """On which data the jobs of a sweep were measured, by job id."""
    dataset = col(Job.spec)["dataset"]["name"].as_string()
    query = select(Job.id, dataset, Job.data_sha256).join(SweepPoint, col(SweepPoint.job_id) == col(Job.id))
    query = query.where(SweepPoint.sweep_id == sweep_id)
    return {job_id: TestData(name, sha256) for job_id, name, sha256 in session.exec(query)}


def best_scores(session: Session, sweep_ids: Collection[str]) -> dict[str, float]:
    """The best validation accuracy among the jobs of each sweep; sweeps without any are left out."""
    query = select(SweepPoint.sweep_id, func.max(Job.score)).join(Job, col(Job.id) == col(SweepPoint.job_id))
    query = query.where(col(SweepPoint.sweep_id).in_(sweep_ids), col(Job.score).is_not(None))
    return {
        sweep_id: score for sweep_id, score in session.exec(query.group_by(SweepPoint.sweep_id)) if score is not None
    }


def metric_keys(session: Session, sweep_id: str) -> list[str]:
    """The metrics that the jobs of the first points have: all points report the same ones."""
    jobs = select(SweepPoint.job_id).where(SweepPoint.sweep_id == sweep_id).order_by(col(SweepPoint.number)).limit(20)
    return list(session.exec(select(Series.key).where(col(Series.job_id).in_(jobs)).distinct().order_by(Series.key)))


def list_decisions(session: Session, sweep_id: str, *, limit: int) -> list[tuple[Event, str]]:
    """The latest decisions of early stopping about a sweep's jobs, with the names of the jobs, newest first."""
    members = select(SweepPoint.job_id).where(SweepPoint.sweep_id == sweep_id, ~col(SweepPoint.reused))
    query = select(Event, Job.name).join(Job, col(Job.id) == col(Event.job_id))
    query = query.where(Event.type == "rung", col(Event.job_id).in_(members)).order_by(col(Event.id).desc())
    return list(session.exec(query.limit(limit)).all())


_INSERT_POINTS = insert(SQLModel.metadata.tables["sweep_points"])


def insert_points(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts the points of a sweep."""
    session.connection().execute(_INSERT_POINTS, list(rows))


def set_point_job(session: Session, sweep_id: str, number: int, *, job_id: str, reused: bool) -> None:
    """Gives a point another job."""
    point = (col(SweepPoint.sweep_id) == sweep_id, col(SweepPoint.number) == number)
    session.execute(update(SweepPoint).where(*point).values(job_id=job_id, reused=reused))


def unsuccessful_points(session: Session, sweep_id: str) -> Sequence[tuple[SweepPoint, Job | None]]:
    """The points whose job failed, was cancelled or was deleted, in order."""
    query = select(SweepPoint, Job).outerjoin(Job, col(Job.id) == col(SweepPoint.job_id))
    unsuccessful = col(Job.state).in_((State.failed, State.cancelled)) | col(Job.id).is_(None)
    query = query.where(SweepPoint.sweep_id == sweep_id, unsuccessful)
    return session.exec(query.order_by(col(SweepPoint.number))).all()


def active_jobs(session: Session, sweep_id: str) -> list[tuple[str, State]]:
    """The jobs that a sweep created and that can still be cancelled."""
    query = select(Job.id, Job.state).where(
        Job.sweep == sweep_id, col(Job.state).not_in((*TERMINAL_STATES, State.cancelling))
    )
    return [(job_id, State(state)) for job_id, state in session.exec(query.order_by(Job.id))]
