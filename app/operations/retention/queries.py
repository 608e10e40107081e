"""The SQL of retention. Nothing here commits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, exists, or_, update
from sqlmodel import Session, col, select

from app.jobs.deletion_queries import UNFINISHED, is_needed
from app.models import Control, Job, Retention, RetentionRun, Sweep, SweepPoint, Tag
from app.operations.retention.schemas import Rule

# Runs that are remembered, and those that are shown.
KEPT_RUNS, SHOWN_RUNS = 50, 20
# Ids in one statement.
_BATCH = 500


class Match(NamedTuple):
    """A job for which the conditions of a rule hold, apart from its rank in sweeps."""

    job_id: str
    name: str
    owner: str
    attempt: int


def stored(session: Session, *, lock: bool = False) -> Retention | None:
    """The row of the policy."""
    return session.get(Retention, 1, with_for_update=lock, populate_existing=True)


def claim_run(session: Session, at: datetime, interval: timedelta) -> bool:
    """Whether the next run is due and is this worker's, which no other one then gets.

    One that is overdue for longer than the interval, since no worker was there, is put off by an interval.
    """
    overdue = update(Retention).where(col(Retention.next_run_at) < at - interval).values(next_run_at=at + interval)
    session.execute(overdue)
    due = update(Retention).where(col(Retention.next_run_at) <= at)
    claimed = session.execute(due.values(next_run_at=at + interval, last_run_at=at))
    return bool(claimed.rowcount)  # type: ignore[attr-defined]


def latest_runs(session: Session) -> list[RetentionRun]:
    """The runs that deleted something, newest first."""
    return list(session.exec(select(RetentionRun).order_by(col(RetentionRun.id).desc()).limit(SHOWN_RUNS)))


def add_to_run(session: Session, run: RetentionRun, *, jobs: int, checkpoints: int, size: int) -> None:
    """Counts a deletion in the row of its run, which is inserted with the first one."""
    row = session.get(RetentionRun, run.id)
    if row is None:
        row = RetentionRun(**run.model_dump())
        session.add(row)
        session.flush()
        newest = select(RetentionRun.id).order_by(col(RetentionRun.id).desc()).limit(KEPT_RUNS)
        session.execute(delete(RetentionRun).where(col(RetentionRun.id).not_in(newest)))
    row.jobs += jobs
    row.checkpoints += checkpoints
    row.bytes_freed += size


def matching_jobs(session: Session, rule: Rule, protected: Sequence[str], at: datetime) -> list[Match]:
    """The jobs for which the conditions of a rule hold at a time, those that ended first coming first."""
    query = select(Job.id, Job.name, Job.owner, Job.attempt).where(*_conditions(rule, protected, at))
    return [Match(*row) for row in session.exec(query.order_by(col(Job.finished_at), col(Job.id)))]


def lock_if_matching(session: Session, rule: Rule, protected: Sequence[str], at: datetime, match: Match) -> Job | None:
    """The job, locked, if the conditions still hold and nobody else is changing it."""
    query = select(Job).where(Job.id == match.job_id, Job.attempt == match.attempt, *_conditions(rule, protected, at))
    if rule.delete == "job":
        # Those of which it was a control have been deleted before.
        query = query.where(~exists().where(col(Control.control_job_id) == col(Job.id)))
    return session.exec(query.with_for_update(key_share=True, skip_locked=True)).first()


def _conditions(rule: Rule, protected: Sequence[str], at: datetime) -> Iterator[ColumnElement[bool]]:
    yield col(Job.state).in_(rule.states)
    yield col(Job.finished_at) < at - timedelta(days=rule.older_than_days)
    for tag in rule.tags:
        yield col(Job.id).in_(select(Tag.job_id).where(Tag.tag == tag))
    if protected:
        yield col(Job.id).not_in(select(Tag.job_id).where(col(Tag.tag).in_(protected)))
    members = select(SweepPoint.job_id).where(col(SweepPoint.job_id).is_not(None))
    if rule.in_sweeps is not None:
        is_in_sweep = or_(col(Job.sweep).is_not(None), col(Job.id).in_(members))
        yield is_in_sweep if rule.in_sweeps else ~is_in_sweep
    # Early stopping and the leaderboard of a running sweep compare all of its jobs.
    running = select(SweepPoint.sweep_id).join(Job, col(Job.id) == col(SweepPoint.job_id))
    running = running.where(col(Job.state).in_(UNFINISHED)).correlate(None)
    yield or_(col(Job.sweep).is_(None), col(Job.sweep).not_in(running))
    yield col(Job.id).not_in(members.where(col(SweepPoint.sweep_id).in_(running)))
    if rule.delete == "checkpoints":
        yield col(Job.attempt) > 0
        deleted_after = col(Job.checkpoints_deleted_after)
        yield or_(deleted_after.is_(None), deleted_after != col(Job.attempt))
    else:
        yield ~is_needed()


def sweeps_of(session: Session, job_ids: Sequence[str]) -> list[Sweep]:
    """The sweeps of which some of these jobs are points."""
    sweeps: dict[str, Sweep] = {}
    for start in range(0, len(job_ids), _BATCH):
        members = select(SweepPoint.sweep_id).where(col(SweepPoint.job_id).in_(job_ids[start : start + _BATCH]))
        for sweep in session.exec(select(Sweep).where(col(Sweep.id).in_(members))):
            sweeps[sweep.id] = sweep
    return [sweeps[sweep_id] for sweep_id in sorted(sweeps)]


def controlled_jobs(session: Session, job_ids: Sequence[str]) -> dict[str, set[str]]:
    """By id of a control, the jobs of which it is one; jobs that are no control are left out."""
    of: dict[str, set[str]] = {}
    for start in range(0, len(job_ids), _BATCH):
        some = job_ids[start : start + _BATCH]
        query = select(Control.control_job_id, Control.job_id).where(col(Control.control_job_id).in_(some))
        for control, job_id in session.exec(query):
            if control is not None:
                of.setdefault(control, set()).add(job_id)
    return of
