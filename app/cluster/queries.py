"""The SQL of the cluster view."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import case, func
from sqlmodel import Session, col, select

from app.jobs.queries import jobs_in_order
from app.models import Attempt, Job, Lease, Reason, State, Worker

MAX_PENDING = 200


class HostRecord(NamedTuple):
    """The Slurm attempts on a host, or on several whose names are separated by commas."""

    hosts: str
    attempts: int
    hardware_faults: int
    last_fault_at: datetime | None


class AttemptRow(NamedTuple):
    """An attempt with the owner of its job, and with the resources of the job if it leases no devices itself."""

    job_id: str
    owner: str
    executor: str
    num_devices: int
    resources: dict[str, Any] | None
    started_at: datetime
    running_at: datetime | None
    ended_at: datetime | None


def attempts_since(session: Session, since: datetime) -> Iterator[AttemptRow]:
    """The attempts that ran after a time, if only for a part."""
    num_devices = func.json_array_length(Attempt.devices)
    # Few attempts need it, and decoding JSON takes long.
    resources = case((num_devices == 0, col(Job.spec)["resources"]))
    columns = (Job.id, Job.owner, Attempt.executor, num_devices, resources)
    query = select(*columns, Attempt.started_at, Attempt.running_at, Attempt.ended_at)  # type: ignore[call-overload]
    query = query.join(Attempt, col(Attempt.job_id) == col(Job.id))
    query = query.where(col(Attempt.ended_at).is_(None) | (col(Attempt.ended_at) > since))
    return (AttemptRow(*row) for row in session.connection().execute(query))


def list_workers(session: Session) -> list[Worker]:
    """All workers by host name."""
    return list(session.exec(select(Worker).order_by(col(Worker.host))))


def jobs_by_device(session: Session) -> dict[tuple[str, str], str]:
    """The job that holds a device, by host and device."""
    return {(lease.host, lease.device): lease.job_id for lease in session.exec(select(Lease))}


def count_jobs(session: Session) -> dict[str, int]:
    """The number of jobs by state; states without jobs are left out."""
    return dict(session.exec(select(Job.state, func.count()).group_by(col(Job.state))).all())


def latest_slurm_worker(session: Session) -> Worker | None:
    """The worker that reported most recently what it sees of Slurm."""
    query = select(Worker).where(col(Worker.slurm).is_not(None)).order_by(col(Worker.seen_at).desc())
    return session.exec(query).first()


def list_pending(session: Session) -> list[tuple[str, str | None, str | None]]:
    """Jobs that are pending in Slurm: id, Slurm job id, message."""
    latest = (col(Attempt.job_id) == col(Job.id)) & (col(Attempt.number) == col(Job.attempt))
    query = select(Job.id, Attempt.slurm_job_id, Job.message).join(Attempt, latest)
    query = query.where(Job.state == State.starting, Job.executor == "slurm").order_by(Job.id).limit(MAX_PENDING)
    return list(session.exec(query).all())


def list_host_records(session: Session) -> list[HostRecord]:
    """The Slurm attempts by the hosts that they ran on."""
    fault = case((col(Attempt.reason) == Reason.hardware_fault, 1))
    columns = (Attempt.host, func.count(), func.count(fault), func.max(case((fault == 1, Attempt.ended_at))))
    query = select(*columns).where(Attempt.executor == "slurm", Attempt.host != "").group_by(Attempt.host)
    return [HostRecord(*row) for row in session.exec(query)]


def list_jobs_by_id(session: Session, job_ids: Collection[str]) -> list[Job]:
    """Jobs by id, in the order of their ids."""
    return list(session.exec(select(Job).where(col(Job.id).in_(job_ids)).order_by(Job.id)))


def list_queue(session: Session, *, limit: int) -> list[Job]:
    """Queued jobs in the order in which they start."""
    # Sorting ids reads an index alone; the rows are wide.
    query = select(Job.id).where(Job.state == State.queued).order_by(col(Job.priority).desc(), Job.id)
    return jobs_in_order(session, session.exec(query.limit(limit)).all())


def list_waiting(session: Session, *, limit: int) -> list[Job]:
    """Jobs that wait for the components of others, oldest first."""
    query = select(Job.id).where(Job.state == State.waiting).order_by(Job.id)
    return jobs_in_order(session, session.exec(query.limit(limit)).all())


def list_in_slurm(session: Session, *, limit: int) -> list[tuple[Job, str, str | None]]:
    """Jobs that run in Slurm, each with its nodes and the id that Slurm gave it."""
    latest = (col(Attempt.job_id) == col(Job.id)) & (col(Attempt.number) == col(Job.attempt))
    query = select(Job, Attempt.host, Attempt.slurm_job_id).join(Attempt, latest)
    running = col(Job.state).in_((State.running, State.pausing, State.cancelling))
    return list(session.exec(query.where(Job.executor == "slurm", running).order_by(Job.id).limit(limit)).all())
