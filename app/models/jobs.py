"""Jobs with their tags, dependencies and events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.db import now
from app.models.columns import BIG, JSON, one_of
from app.models.states import State


class Job(SQLModel, table=True):
    """A job. Only `app.jobs.transitions.transition` writes `state`."""

    __tablename__ = "jobs"
    __table_args__ = (
        one_of("state", State),
        UniqueConstraint("owner", "idempotency_key", name="uq_jobs_owner_idempotency_key"),
        # A list reads ids and the columns that it is filtered by from one of these alone; the full rows are wide.
        # Each ends with the sweep, so that lists without the runs of sweeps do too.
        Index("jobs_by_state", "state", "priority", "id", "sweep"),
        Index("jobs_by_id_name_state", "id", "name", "state", "sweep"),
        Index("jobs_by_state_score", "state", "score", "id", "sweep"),
        Index("jobs_by_score", "score", "id", "sweep"),
        Index("jobs_by_priority", "priority", "id", "sweep"),
        Index("jobs_by_kind_state", "kind", "state", "id", "sweep"),
        Index("jobs_by_owner_state", "owner", "state", "id", "sweep"),
        Index("jobs_by_owner_size", "owner", "size_bytes"),
        Index("jobs_by_executor_state", "executor", "state", "state_since"),
        Index("jobs_by_finished_at", "finished_at", "state"),
    )
    id: str = Field(primary_key=True)
    kind: str
    name: str = Field(index=True)
    state: str
    state_since: datetime | None = Field(default_factory=now)
    executor: str = "local"
    reason: str | None = None
    message: str | None = None
    # The number of the latest attempt; 0 before the first.
    attempt: int = 0
    # Failed attempts in a row that completed no new checkpoint: the job fails at `max_attempts`.
    failures: int = 0
    # The attempt after which its checkpoints were deleted: if it is the latest one, the next starts from the beginning.
    checkpoints_deleted_after: int | None = None
    priority: int = 0
    owner: str
    created_at: datetime = Field(default_factory=now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    # As resolved; `defaulted` lists the paths of the fields that the request left out.
    spec: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    defaulted: list[str] = Field(sa_column=Column(JSON, nullable=False))
    plan: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    progress: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    # The files of its run directory, measured when a checkpoint is complete and when an attempt ends; null if it was
    # stored by an earlier version and has not been measured yet.
    size_bytes: int | None = Field(default=0, sa_column=Column(BIG))
    idempotency_key: str | None = None
    body_sha256: str | None = None
    # The sweep that created the job.
    sweep: str | None = Field(default=None, index=True)
    # The best validation accuracy so far: of the fused path, or of the expert in a job that trains one.
    score: float | None = None
    # SHA-256 of everything in the specification that determines the result; null if no single specification does (see
    # app/jobs/digest.py). What else determines it: the content of the data (expected until it runs), the code and
    # libraries, and the device, which is null until it runs. Software and device are null if they changed on the way.
    digest: str | None = Field(default=None, index=True)
    data_sha256: str | None = None
    software_key: str | None = None
    device_key: str | None = None


class Tag(SQLModel, table=True):
    """A tag of a job."""

    __tablename__ = "tags"
    tag: str = Field(primary_key=True)
    job_id: str = Field(primary_key=True, foreign_key="jobs.id", ondelete="CASCADE", index=True)


class Dependency(SQLModel, table=True):
    """A job starts from components of the job `depends_on`, so it waits until that job has ended."""

    __tablename__ = "dependencies"
    job_id: str = Field(primary_key=True, foreign_key="jobs.id", ondelete="CASCADE")
    depends_on: str = Field(primary_key=True, foreign_key="jobs.id", index=True)


class Control(SQLModel, table=True):
    """A control of a fusion job (see core/spec/controls.py): the job `control_job_id`, or why there is none (`absent`).

    `reused` means that the job existed before. It is null, without a reason, once it has been deleted.
    """

    __tablename__ = "controls"
    job_id: str = Field(primary_key=True, foreign_key="jobs.id", ondelete="CASCADE")
    role: str = Field(primary_key=True)
    position: int
    control_job_id: str | None = Field(default=None, foreign_key="jobs.id", ondelete="SET NULL", index=True)
    reused: bool = False
    absent: str | None = None


class Event(SQLModel, table=True):
    """An event of a job. Ids increase in commit order, so a reader that resumes after an id misses nothing."""

    __tablename__ = "events"
    __table_args__ = (Index("events_of_job", "job_id", "id"),)
    id: int | None = Field(default=None, sa_column=Column(BIG, primary_key=True, autoincrement=True))
    job_id: str = Field(foreign_key="jobs.id", ondelete="CASCADE")
    time: datetime = Field(default_factory=now)
    type: str
    data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
