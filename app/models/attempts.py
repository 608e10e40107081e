"""Attempts, the devices they hold, the workers that run them, and the components they save."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Index, UniqueConstraint
from sqlmodel import Field, Session, SQLModel

from app.db import database_time, now
from app.models.columns import BIG, JSON
from core.run.identity import RunIdentity

# A worker whose last heartbeat is older than this counts as offline.
WORKER_TIMEOUT = timedelta(seconds=30)


def offline_before(session: Session) -> datetime:
    """Workers whose last heartbeat (`seen_at`, by the clock of the database) was before this time count as offline."""
    return database_time(session) - WORKER_TIMEOUT


class Attempt(SQLModel, table=True):
    """One run of a job on one executor.

    The first `offset` bytes of its event log, up to event number `seq`, are in the database.
    """

    __tablename__ = "attempts"
    __table_args__ = (Index("attempts_by_ended_at", "ended_at", "outcome", "reason"),)
    job_id: str = Field(primary_key=True, foreign_key="jobs.id", ondelete="CASCADE")
    number: int = Field(primary_key=True)
    executor: str
    host: str = Field(index=True)
    devices: list[str] = Field(sa_column=Column(JSON, nullable=False))
    handle: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    started_at: datetime = Field(default_factory=now)
    # When its first step began, by the clock of its process; until then, in Slurm, it may be pending.
    running_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    reason: str | None = None
    message: str | None = None
    resumed_from_step: int | None = None
    # The last step that it reported; null before its first.
    last_step: int | None = Field(default=None, sa_column=Column(BIG))
    # The step of the last checkpoint that it completed; null before its first.
    checkpoint_step: int | None = Field(default=None, sa_column=Column(BIG))
    # When it wrote its last event, by the clock of its machine; null before its first.
    reported_at: datetime | None = None
    slurm_job_id: str | None = None
    # The job name given to sbatch, and the task's index within a job array.
    slurm_job_name: str | None = Field(default=None, index=True)
    array_index: int | None = None
    # Where it ran, the checkpoint it resumed from, and the identity of the run (see core/run/identity.py).
    identity: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    offset: int = Field(default=0, sa_column=Column(BIG, nullable=False))
    seq: int = 0

    @property
    def changed_environment(self) -> str | None:
        """How its environment differed from that of the attempt that it resumed, as a sentence; None if it did not."""
        if not self.identity or not self.identity["resumed_from"]:
            return None
        newest = RunIdentity.from_json(self.identity["run"]).segments[-1]
        return newest.change if newest.step == self.identity["resumed_from"]["step"] else None


class Lease(SQLModel, table=True):
    """A device of a host, held by an attempt until it ends."""

    __tablename__ = "leases"
    host: str = Field(primary_key=True)
    device: str = Field(primary_key=True)
    job_id: str = Field(foreign_key="jobs.id", ondelete="CASCADE", index=True)
    attempt: int


class Worker(SQLModel, table=True):
    """A worker, one per host, with its devices and its last heartbeat (`seen_at`, by the clock of the database)."""

    __tablename__ = "workers"
    host: str = Field(primary_key=True)
    devices: list[str] = Field(sa_column=Column(JSON, nullable=False))
    cpus: int = 0
    # In GiB, like `resources.memory_gb`.
    memory_gb: float = 0.0
    seen_at: datetime
    # The devices that jobs may get there, by keys that are equal for equal devices (see app/jobs/reuse.py).
    device_keys: dict[str, list[str]] | None = Field(default=None, sa_column=Column(JSON))
    # The space of its data folder in bytes, and whether it has paused starts (see worker/start_gate.py).
    disk: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    # The last known state of the Slurm cluster; null on hosts without Slurm.
    slurm: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    # How long its rounds took lately, and how late it read event logs (see worker/timings.py).
    timings: dict[str, float] | None = Field(default=None, sa_column=Column(JSON))


class Component(SQLModel, table=True):
    """A saved component of a job: the manifest that the training process wrote."""

    __tablename__ = "components"
    __table_args__ = (
        UniqueConstraint("job_id", "name", name="uq_components_job_id_name"),
        # With the job, so that a search by its name reads no row that it does not show.
        Index("components_by_score", "score", "id", "job_id"),
        Index("components_by_created_at", "created_at", "id", "job_id"),
        Index("components_by_role_score", "role", "score", "id"),
        Index("components_by_role_created_at", "role", "created_at", "id"),
    )
    id: str = Field(primary_key=True)
    job_id: str = Field(foreign_key="jobs.id", ondelete="CASCADE", index=True)
    name: str
    role: str
    epoch: int
    metrics: dict[str, float] = Field(sa_column=Column(JSON, nullable=False))
    selected_by: str
    config: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    files: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    # For choosing among all components: the accuracy that selected it, an expert's architecture, the data set.
    score: float | None = None
    arch: str | None = None
    dataset: str | None = None
    created_at: datetime = Field(default_factory=now)
