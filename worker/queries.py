"""What the worker reads from the database and writes to it, besides transitions of jobs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from app.db import database_time, now
from app.jobs.capacity import Capacity
from app.jobs.queue_queries import sweeps_at_limit
from app.jobs.quota_queries import may_start
from app.jobs.quotas import lock_to_start, start_limits
from app.models import (
    TERMINAL_STATES,
    Attempt,
    Component,
    Dependency,
    Job,
    Lease,
    Reason,
    State,
    Sweep,
    Worker,
    offline_before,
)

# A machine may come back after this long, and its processes with it.
GIVEN_UP_FOR = timedelta(days=7)
# Job id and number of an attempt.
AttemptKey = tuple[str, int]


def queued_jobs(session: Session, executor: str) -> Iterator[Job]:
    """The queued jobs of an executor, next one first, without those of sweeps and owners that are at their limit."""
    return iter(session.exec(_queued(session, executor).execution_options(yield_per=20)))


def lock_queued(session: Session, job: Job) -> bool:
    """Whether the job is this worker's to claim: still queued, locked by nobody else, and within all limits.

    It never waits. The locks of job, owner and sweep stay until the commit.
    """
    # A queue may have thousands of jobs of an owner for whom another worker is starting one.
    refused = session.info.setdefault("refused_owners", set())
    if job.owner in refused:
        return False
    query = select(Job.id).where(Job.id == job.id, Job.state == State.queued, Job.attempt == job.attempt)
    if session.exec(query.with_for_update(skip_locked=True, key_share=True)).first() is None:
        return False
    if not lock_to_start(session, job.owner):
        refused.add(job.owner)
        return False
    return job.sweep is None or lock_sweep_to_claim(session, job.sweep)


def lock_sweep_to_claim(session: Session, sweep_id: str) -> bool:
    """Whether this worker may claim jobs of a sweep until the commit. Without `max_parallel`, all workers may."""
    limited = select(Sweep.id).where(Sweep.id == sweep_id, col(Sweep.max_parallel).is_not(None))
    if session.exec(limited).first() is None:
        return True
    is_locked = session.exec(limited.with_for_update(skip_locked=True, key_share=True)).first() is not None
    # Counted again: another worker may have claimed one just before.
    return is_locked and sweep_id not in sweeps_at_limit(session)


def queued_points(session: Session, executor: str, sweep_id: str, limit: int) -> Sequence[Job]:
    """The queued jobs of a sweep, next one first."""
    return session.exec(_queued(session, executor).where(Job.sweep == sweep_id).limit(limit)).all()


def _queued(session: Session, executor: str) -> SelectOfScalar[Job]:
    query = select(Job).where(Job.state == State.queued, Job.executor == executor)
    limits = start_limits(session)
    query = query.where(*may_start(limits.at_limit, limits.only))
    if at_limit := sweeps_at_limit(session):
        query = query.where(col(Job.sweep).is_(None) | col(Job.sweep).not_in(at_limit))
    return query.order_by(col(Job.priority).desc(), col(Job.id))


def num_live_attempts(session: Session, sweep_id: str) -> int:
    """How many attempts of a sweep's jobs have not ended."""
    query = select(func.count()).select_from(Attempt).join(Job, col(Job.id) == col(Attempt.job_id))
    return session.exec(query.where(Job.sweep == sweep_id, col(Attempt.ended_at).is_(None))).one()


def free_devices(session: Session, host: str, devices: Sequence[str]) -> list[str]:
    """Those of a machine's devices that no attempt holds."""
    leased = set(session.exec(select(Lease.device).where(Lease.host == host)))
    return [device for device in devices if device not in leased]


def other_machines(session: Session, host: str) -> list[Capacity]:
    """The capacities of the other machines whose workers are alive."""
    alive = select(Worker).where(Worker.host != host, col(Worker.seen_at) > offline_before(session))
    return [Capacity(worker.devices, worker.cpus, worker.memory_gb) for worker in session.exec(alive)]


def slurm_hosts(session: Session) -> list[str]:
    """The machines whose workers are alive and reach Slurm."""
    alive = select(Worker.host).where(col(Worker.slurm).is_not(None), col(Worker.seen_at) > offline_before(session))
    return list(session.exec(alive))


def faulty_nodes(session: Session, job_ids: Sequence[str]) -> dict[str, set[str]]:
    """By job id, the nodes whose hardware failed under it."""
    faults = select(Attempt.job_id, Attempt.host).where(
        col(Attempt.job_id).in_(job_ids), Attempt.reason == Reason.hardware_fault, Attempt.host != ""
    )
    nodes: dict[str, set[str]] = {}
    for job_id, host in session.exec(faults):
        nodes.setdefault(job_id, set()).update(host.split(","))
    return nodes


def unfinished_attempts(session: Session, executor: str, host: str | None) -> Sequence[tuple[Attempt, str, str | None]]:
    """An executor's attempts that have not ended, with state and message of their jobs; of one host, or of all."""
    query = select(Attempt, Job.state, Job.message).join(Job, col(Job.id) == col(Attempt.job_id))
    query = query.where(Attempt.executor == executor, col(Attempt.ended_at).is_(None))
    if host is not None:
        query = query.where(Attempt.host == host)
    return session.exec(query).all()


def attempts_of_silent_workers(
    session: Session, executors: Sequence[str], host: str
) -> Sequence[tuple[Attempt, str, str | None, float]]:
    """Attempts of other machines that have not ended and whose workers are offline.

    With state and message of their jobs, and for how many seconds the worker has not been heard from.
    """
    query = select(Attempt, Job.state, Job.message, Worker.seen_at).join(Job, col(Job.id) == col(Attempt.job_id))
    query = query.outerjoin(Worker, col(Worker.host) == col(Attempt.host))
    query = query.where(col(Attempt.ended_at).is_(None), col(Attempt.executor).in_(executors), Attempt.host != host)
    is_offline = col(Worker.seen_at).is_(None) | (col(Worker.seen_at) <= offline_before(session))
    rows = session.exec(query.where(is_offline)).all()
    at = database_time(session) if rows else now()
    return [
        (attempt, state, message, (at - seen_at).total_seconds() if seen_at is not None else math.inf)
        for attempt, state, message, seen_at in rows
    ]


def given_up_attempts(session: Session, executor: str, host: str) -> Sequence[Attempt]:
    """Attempts of this machine that another worker has ended within the last days."""
    query = select(Attempt).where(Attempt.executor == executor, Attempt.host == host)
    query = query.where(Attempt.reason == Reason.node_failure, col(Attempt.ended_at) > now() - GIVEN_UP_FOR)
    return session.exec(query).all()


def attempt_ended_since(session: Session, executor: str, age: timedelta) -> bool:
    """Whether one of an executor's attempts has ended lately."""
    recent = select(Attempt.job_id).where(Attempt.executor == executor, col(Attempt.ended_at) > now() - age)
    return session.exec(recent.limit(1)).first() is not None


def ended_slurm_jobs(session: Session, names: Sequence[str]) -> set[tuple[str | None, int | None]]:
    """Slurm job names and array indexes, among these names, all of whose attempts have ended."""
    query = select(Attempt.slurm_job_name, Attempt.array_index).where(col(Attempt.slurm_job_name).in_(names))
    ended = set(session.exec(query.where(col(Attempt.ended_at).is_not(None))).all())
    return ended - set(session.exec(query.where(col(Attempt.ended_at).is_(None))).all())


def known_slurm_jobs(session: Session, names: Sequence[str]) -> set[str | None]:
    """Those of these Slurm job names under which any attempt is recorded."""
    return set(session.exec(select(Attempt.slurm_job_name).where(col(Attempt.slurm_job_name).in_(names))))


def update_attempt(session: Session, key: AttemptKey, **values: Any) -> None:
    """Writes columns of an attempt."""
    where = (col(Attempt.job_id) == key[0], col(Attempt.number) == key[1])
    session.execute(update(Attempt).where(*where).values(**values).execution_options(synchronize_session=False))


def delete_attempt(session: Session, key: AttemptKey) -> None:
    """Removes an attempt that was never started."""
    session.execute(delete(Attempt).where(col(Attempt.job_id) == key[0], col(Attempt.number) == key[1]))


def release_devices(session: Session, key: AttemptKey) -> None:
    """Gives back the devices that an attempt holds."""
    session.execute(delete(Lease).where(col(Lease.job_id) == key[0], col(Lease.attempt) == key[1]))


def update_message(session: Session, key: AttemptKey, state: State, message: str | None) -> None:
    """Changes the message of a job that is still in this state and attempt."""
    unchanged = (col(Job.id) == key[0], col(Job.state) == state, col(Job.attempt) == key[1])
    session.execute(update(Job).where(*unchanged).values(message=message))


def component_of(session: Session, job_id: str | None, component: str) -> Component | None:
    """A component by id, or by job and name."""
    query = select(Component).where(Component.id == component)
    if job_id is not None:
        query = select(Component).where(Component.job_id == job_id, Component.name == component)
    return session.exec(query).first()


def resolvable_jobs() -> SelectOfScalar[Job]:
    """Waiting jobs that need not wait any longer: all they depend on has succeeded, or some of it never will."""
    other = aliased(Job)
    dependencies = select(Dependency.job_id).join(other, col(other.id) == col(Dependency.depends_on))
    unfinished = dependencies.where(col(other.state).not_in(TERMINAL_STATES))
    unsuccessful = dependencies.where(col(other.state).in_((State.failed, State.cancelled)))
    resolvable = col(Job.id).in_(unsuccessful) | col(Job.id).not_in(unfinished)
    return select(Job).where(Job.state == State.waiting, resolvable)


def dependency_states(session: Session, depends_on: Sequence[str] | None) -> dict[str, dict[str, str]]:
    """By resolvable job, the states of the jobs it depends on; of the jobs that depend on some of these, or of all."""
    resolvable = resolvable_jobs().with_only_columns(col(Job.id))
    if depends_on is not None:
        dependents = select(Dependency.job_id).where(col(Dependency.depends_on).in_(depends_on))
        resolvable = resolvable.where(col(Job.id).in_(dependents))
    other = aliased(Job)
    query = select(Job.id, other.id, other.state).outerjoin(Dependency, col(Dependency.job_id) == col(Job.id))
    query = query.outerjoin(other, col(other.id) == col(Dependency.depends_on)).where(col(Job.id).in_(resolvable))
    states: dict[str, dict[str, str]] = {}
    for job_id, other_id, state in session.exec(query):
        states.setdefault(job_id, {})[other_id] = state
    return states
