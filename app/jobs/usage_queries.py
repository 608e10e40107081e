"""The SQL of usage by owner: device time, jobs and bytes. Every query reads an index alone, or few rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select
from ulid import ULID

from app.jobs.device_time import DeviceSeconds, DeviceUse, device_type_of
from app.models import ACTIVE_STATES, Attempt, DeviceTime, Job

_INSERTS = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


class RunningAttempt(NamedTuple):
    """An attempt that has not ended, and the owner of its job."""

    owner: str
    use: DeviceUse


def add_device_time(session: Session, owner: str, month: str, used: DeviceSeconds) -> None:
    """Adds device time to that of an owner in a month."""
    insert: Any = _INSERTS[session.get_bind().dialect.name]
    statement = insert(DeviceTime).values(owner=owner, month=month, gpu_s=used.gpu, cpu_s=used.cpu)
    added = {
        "gpu_s": col(DeviceTime.gpu_s) + statement.excluded.gpu_s,
        "cpu_s": col(DeviceTime.cpu_s) + statement.excluded.cpu_s,
    }
    session.execute(statement.on_conflict_do_update(index_elements=["month", "owner"], set_=added))


def device_time(session: Session, month: str) -> dict[str, DeviceSeconds]:
    """By owner, the device time of ended attempts in a month."""
    query = select(DeviceTime.owner, DeviceTime.gpu_s, DeviceTime.cpu_s).where(DeviceTime.month == month)
    return {owner: DeviceSeconds(gpu_s, cpu_s) for owner, gpu_s, cpu_s in session.exec(query)}


def total_device_time(session: Session) -> DeviceSeconds:
    """The device time of all attempts that have ended."""
    gpu_s, cpu_s = session.exec(select(func.sum(DeviceTime.gpu_s), func.sum(DeviceTime.cpu_s))).one()
    return DeviceSeconds(gpu_s or 0.0, cpu_s or 0.0)


def running_attempts(session: Session) -> list[RunningAttempt]:
    """The attempts that have not ended."""
    resources = col(Job.spec)["resources"]
    columns = (Job.owner, Attempt.executor, Attempt.devices, resources, Attempt.identity)
    query = select(*columns, Attempt.started_at, Attempt.running_at)  # type: ignore[call-overload]
    query = query.join(Attempt, col(Attempt.job_id) == col(Job.id)).where(col(Attempt.ended_at).is_(None))
    return [
        RunningAttempt(
            owner, DeviceUse(executor, devices, resources or {}, device_type_of(identity), started_at, running_at)
        )
        for owner, executor, devices, resources, identity, started_at, running_at in session.exec(query)
    ]


def count_running(session: Session) -> dict[str, int]:
    """By owner, the jobs that an attempt runs, starts or stops; owners without any are left out."""
    # Few are active. Without the subquery, SQLite reads the owners and states of all jobs from an index.
    active = select(Job.id).where(col(Job.state).in_(ACTIVE_STATES))
    return Counter(session.exec(select(Job.owner).where(col(Job.id).in_(active))))


def stored_bytes(session: Session, owner: str | None = None) -> dict[str, int]:
    """By owner, the bytes of run directories as last measured."""
    query = select(Job.owner, func.sum(Job.size_bytes)).group_by(Job.owner)
    if owner is not None:
        query = query.where(Job.owner == owner)
    return {name: int(total or 0) for name, total in session.exec(query)}


def count_created(session: Session, start: datetime, end: datetime) -> Iterable[tuple[str, str, int]]:
    """Owner, present state and number of the jobs that were created between two times."""
    query = select(Job.owner, Job.state, func.count()).group_by(Job.owner, Job.state)
    # Ids begin with their time, and the index of owners and states has them.
    return session.exec(query.where(col(Job.id) >= _first_id(start), col(Job.id) < _first_id(end))).all()


def _first_id(time: datetime) -> str:
    milliseconds = round(time.timestamp() * 1000)
    return f"job_{ULID.from_bytes(milliseconds.to_bytes(6, 'big') + bytes(10))}"


def set_size(session: Session, job_id: str, size_bytes: int) -> None:
    """Records the size of a job that has not been measured yet."""
    unmeasured = update(Job).where(col(Job.id) == job_id, col(Job.size_bytes).is_(None))
    session.execute(unmeasured.values(size_bytes=size_bytes))


def unmeasured_jobs(session: Session, limit: int) -> list[str]:
    """Jobs whose size is not known."""
    return list(session.exec(select(Job.id).where(col(Job.size_bytes).is_(None)).limit(limit)))
