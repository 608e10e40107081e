"""The SQL of monitoring. Every query reads an index alone, or few rows, however many jobs are stored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col, select

from app.db import now
from app.models import Attempt, Job, Lease, State, WebhookDelivery, Worker, offline_before

# A machine that was taken out of service is reported for this long.
WORKERS_SEEN_WITHIN = timedelta(days=7)
MAX_WORKERS = 1_000


class JobCount(NamedTuple):
    """How many jobs of an executor are in a state, and since when the first of them has been."""

    executor: str
    state: str
    total: int
    since: datetime | None


class EndCount(NamedTuple):
    """How many attempts ended in one way."""

    outcome: str | None
    reason: str | None
    total: int


class WorkerRow(NamedTuple):
    """A worker as its latest heartbeat describes it."""

    host: str
    devices: list[str]
    seen_at: datetime
    slurm: dict[str, Any] | None
    disk: dict[str, Any] | None
    timings: dict[str, float] | None


def count_jobs(session: Session) -> Iterator[JobCount]:
    """The jobs by executor and state."""
    columns = (Job.executor, Job.state, func.count(), func.min(Job.state_since))
    rows = session.exec(select(*columns).group_by(Job.executor, Job.state))
    return (JobCount(*row) for row in rows)


def count_ends(session: Session, within: timedelta) -> Iterator[EndCount]:
    """The attempts that ended lately, by how they ended."""
    columns = (col(Attempt.outcome), col(Attempt.reason), func.count())
    query = select(*columns).where(col(Attempt.ended_at) > now() - within)
    return (EndCount(*row) for row in session.exec(query.group_by(col(Attempt.outcome), col(Attempt.reason))))


def images_per_second(session: Session) -> dict[str, float]:
    """By executor, the sum of what running jobs last reported."""
    speed = col(Job.progress)["images_per_s"].as_float()
    query = select(Job.executor, func.sum(speed)).where(Job.state == State.running).group_by(Job.executor)
    return {executor: total or 0.0 for executor, total in session.exec(query)}


def list_workers(session: Session, at: datetime) -> list[WorkerRow]:
    """The workers that were heard from within `WORKERS_SEEN_WITHIN` before a time, by host name."""
    columns = (Worker.host, Worker.devices, Worker.seen_at, Worker.slurm, Worker.disk, Worker.timings)
    query = select(*columns).where(col(Worker.seen_at) > at - WORKERS_SEEN_WITHIN)  # type: ignore[call-overload]
    return [WorkerRow(*row) for row in session.exec(query.order_by(Worker.host).limit(MAX_WORKERS))]


def has_live_worker(session: Session) -> bool:
    """Whether any worker was heard from lately."""
    return (
        session.exec(select(Worker.host).where(col(Worker.seen_at) > offline_before(session)).limit(1)).first()
        is not None
    )


def count_leases(session: Session) -> dict[str, int]:
    """By host, how many of its devices are held."""
    return dict(session.exec(select(Lease.host, func.count()).group_by(Lease.host)).all())


def count_webhook_deliveries(session: Session) -> tuple[int, int]:
    """How many deliveries have yet to arrive, and how many were given up lately; those that arrived are deleted."""
    query = select(func.count(), func.count(col(WebhookDelivery.given_up_at))).select_from(WebhookDelivery)
    total, given_up = session.exec(query).one()
    return total - given_up, given_up
