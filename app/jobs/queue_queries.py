"""The SQL behind explanations: what is ahead of a job, what it depends on, and what the workers have."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col, select

from app.jobs.capacity import Capacity
from app.jobs.queries import SPEC_COLUMNS, without
from app.jobs.quota_queries import may_start
from app.jobs.quotas import StartLimits, start_limits
from app.models import ACTIVE_STATES, Attempt, Dependency, Job, Lease, State, Sweep, Worker, offline_before


def dependencies(session: Session, job_id: str) -> list[Job]:
    """The jobs that a job depends on and that have not succeeded."""
    query = select(Job).join(Dependency, col(Dependency.depends_on) == col(Job.id))
    return list(session.exec(query.where(Dependency.job_id == job_id, Job.state != State.succeeded).order_by(Job.id)))


def sweeps_at_limit(session: Session) -> set[str]:
    """Sweeps of which `max_parallel` jobs run. Jobs that a sweep reuses count for the sweep that created them."""
    return {sweep for sweep, active, limit in _limited_sweeps(session) if active >= limit}


def _limited_sweeps(session: Session) -> list[tuple[str, int, int]]:
    query = select(Sweep.id, func.count(), Sweep.max_parallel).join(Job, col(Job.sweep) == col(Sweep.id))
    query = query.where(col(Job.state).in_(ACTIVE_STATES), col(Sweep.max_parallel).is_not(None))
    rows = session.exec(query.group_by(Sweep.id, col(Sweep.max_parallel)))
    return [(sweep, active, limit or 0) for sweep, active, limit in rows]


class Workers(NamedTuple):
    """The workers whose heartbeat is recent, and the one that was heard from last of all that are known."""

    live: list[Worker]
    latest: Worker | None


def workers(session: Session) -> Workers:
    """All workers, by whether they have been heard from lately."""
    rows = list(session.exec(select(Worker).order_by(col(Worker.host))))
    limit = offline_before(session)
    live = [worker for worker in rows if worker.seen_at > limit]
    return Workers(live, max(rows, key=lambda worker: worker.seen_at, default=None))


def capacity_of(worker: Worker) -> Capacity:
    """What the machine of a worker has."""
    return Capacity(worker.devices, worker.cpus, worker.memory_gb)


def holders(session: Session, hosts: Collection[str]) -> list[tuple[Lease, Job]]:
    """The devices of these hosts that are held, with the jobs that hold them, which lack their specification."""
    query = select(Lease, Job).join(Job, col(Job.id) == col(Lease.job_id)).where(col(Lease.host).in_(hosts))
    query = query.options(*without(SPEC_COLUMNS))
    return list(session.exec(query.order_by(col(Lease.host), col(Lease.device))).all())


class Queue:
    """What the explanations of all queued jobs have in common, read once: workers, devices, sweeps with a limit."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @cached_property
    def workers(self) -> Workers:
        """All workers."""
        return workers(self._session)

    @cached_property
    def holders(self) -> list[tuple[Lease, Job]]:
        """The devices of live workers that are held, with the jobs that hold them."""
        return holders(self._session, [worker.host for worker in self.workers.live])

    @cached_property
    def start_limits(self) -> StartLimits:
        """What quotas say about starts now."""
        return start_limits(self._session)

    @cached_property
    def _limited_sweeps(self) -> list[tuple[str, int, int]]:
        return _limited_sweeps(self._session)

    def sweep_places(self, sweep_id: str) -> tuple[int, int] | None:
        """How many of a sweep's jobs run, and how many may; None without a limit, or if none runs."""
        return next(((active, limit) for sweep, active, limit in self._limited_sweeps if sweep == sweep_id), None)

    def jobs_ahead(self, job: Job) -> int:
        """How many queued jobs of the same executor start before a queued job.

        Those of sweeps or owners at their limit do not count.
        """
        at_limit = [sweep for sweep, active, limit in self._limited_sweeps if active >= limit]
        query = select(func.count()).select_from(Job)
        query = query.where(Job.state == State.queued, Job.executor == job.executor)
        query = query.where(*may_start(self.start_limits.at_limit, self.start_limits.only))
        if at_limit:
            query = query.where(col(Job.sweep).is_(None) | col(Job.sweep).not_in(at_limit))
        # Two counts: each is a range of the index of the queue.
        higher = query.where(col(Job.priority) > job.priority)
        older = query.where(col(Job.priority) == job.priority, col(Job.id) < job.id)
        return self._session.exec(higher).one() + self._session.exec(older).one()


def latest_attempt(session: Session, job: Job) -> Attempt | None:
    """The latest attempt of a job."""
    return session.get(Attempt, (job.id, job.attempt))
