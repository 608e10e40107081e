"""The tables."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Column, Index, Integer, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.db import now
from app.jobs.states import State
from app.roles import Role

_BIG = BigInteger().with_variant(Integer, "sqlite")
_JSON = JSON(none_as_null=True)


def _one_of(column: str, values: Any) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(value)) for value in values)})", name=f"{column}_known")


class Token(SQLModel, table=True):
    """A bearer token, of which only the SHA-256 is kept."""

    __tablename__ = "tokens"
    __table_args__ = (_one_of("role", Role),)
    id: str = Field(primary_key=True)
    name: str
    owner: str = Field(index=True)
    role: str
    sha256: str = Field(unique=True)
    created_at: datetime = Field(default_factory=now)
    expires_at: datetime | None = None


class Job(SQLModel, table=True):
    """A job. Only `app.jobs.states.move` writes `state`."""

    __tablename__ = "jobs"
    __table_args__ = (
        _one_of("state", State),
        UniqueConstraint("owner", "idempotency_key", name="one_job_a_key"),
        Index("jobs_by_state", "state", "priority", "id"),
    )
    id: str = Field(primary_key=True)
    kind: str = Field(index=True)
    name: str = Field(index=True)
    state: str
    executor: str = "local"
    reason: str | None = None
    message: str | None = None
    attempt: int = 0
    failures: int = 0
    priority: int = Field(default=0, index=True)
    owner: str
    created_at: datetime = Field(default_factory=now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    spec: dict[str, Any] = Field(sa_column=Column(_JSON, nullable=False))
    defaulted: list[str] = Field(sa_column=Column(_JSON, nullable=False))
    plan: dict[str, Any] | None = Field(default=None, sa_column=Column(_JSON))
    progress: dict[str, Any] | None = Field(default=None, sa_column=Column(_JSON))
    idempotency_key: str | None = None
    body_sha256: str | None = None
    sweep: str | None = Field(default=None, index=True)
    # Of all that decides what comes out; jobs that have it in common give the same.
    digest: str | None = Field(default=None, index=True)


class Sweep(SQLModel, table=True):
    """A grid of jobs. `base`, `grid` and `early_stopping` are as they were given."""

    __tablename__ = "sweeps"
    id: str = Field(primary_key=True)
    name: str
    owner: str
    created_at: datetime = Field(default_factory=now)
    base: dict[str, Any] = Field(sa_column=Column(_JSON, nullable=False))
    grid: dict[str, Any] = Field(sa_column=Column(_JSON, nullable=False))
    max_parallel: int | None = None
    early_stopping: dict[str, Any] | None = Field(default=None, sa_column=Column(_JSON))
    idempotency_key: str | None = None
    body_sha256: str | None = None
    __table_args__ = (UniqueConstraint("owner", "idempotency_key", name="one_sweep_a_key"),)


class Point(SQLModel, table=True):
    """A point of a sweep's grid: the values of its fields, and the job that trains it; `reused` if it was there before.

    The job is null once it has been deleted.
    """

    __tablename__ = "sweep_points"
    sweep_id: str = Field(primary_key=True, foreign_key="sweeps.id", ondelete="CASCADE")
    number: int = Field(primary_key=True)
    job_id: str | None = Field(default=None, foreign_key="jobs.id", ondelete="SET NULL", index=True)
    given: dict[str, Any] = Field(sa_column=Column(_JSON, nullable=False))
    reused: bool = False


class Tag(SQLModel, table=True):
    """A tag of a job."""

    __tablename__ = "tags"
    tag: str = Field(primary_key=True)
    job_id: str = Field(primary_key=True, foreign_key="jobs.id", ondelete="CASCADE", index=True)


class Need(SQLModel, table=True):
    """A job waits for another, whose components it names."""

    __tablename__ = "needs"
    job_id: str = Field(primary_key=True, foreign_key="jobs.id", ondelete="CASCADE")
    needs: str = Field(primary_key=True, foreign_key="jobs.id", index=True)


class Attempt(SQLModel, table=True):
    """One start of a job. `offset` bytes of its event log, up to event `seq`, are in the database."""

    __tablename__ = "attempts"
    job_id: str = Field(primary_key=True, foreign_key="jobs.id", ondelete="CASCADE")
    number: int = Field(primary_key=True)
    executor: str
    host: str = Field(index=True)
    devices: list[str] = Field(sa_column=Column(_JSON, nullable=False))
    handle: dict[str, Any] | None = Field(default=None, sa_column=Column(_JSON))
    started_at: datetime = Field(default_factory=now)
    ended_at: datetime | None = Field(default=None, index=True)
    outcome: str | None = None
    reason: str | None = None
    message: str | None = None
    resumed_from_step: int | None = None
    slurm_job_id: str | None = None
    # The name under which it was submitted to Slurm, and its index in an array.
    stamp: str | None = Field(default=None, index=True)
    array_index: int | None = None
    offset: int = Field(default=0, sa_column=Column(_BIG, nullable=False))
    seq: int = 0


class Lease(SQLModel, table=True):
    """A device of a machine that an attempt holds."""

    __tablename__ = "leases"
    host: str = Field(primary_key=True)
    device: str = Field(primary_key=True)
    job_id: str = Field(foreign_key="jobs.id", ondelete="CASCADE", index=True)
    attempt: int


# A worker that has been silent for this long is taken to be away.
SILENT = timedelta(seconds=30)


class Worker(SQLModel, table=True):
    """A machine that trains, and when it was last heard of."""

    __tablename__ = "workers"
    host: str = Field(primary_key=True)
    devices: list[str] = Field(sa_column=Column(_JSON, nullable=False))
    cpus: int = 0
    # In GiB.
    memory_gb: float = 0.0
    seen_at: datetime
    # What it saw of Slurm last; null where it has none.
    slurm: dict[str, Any] | None = Field(default=None, sa_column=Column(_JSON))


class Event(SQLModel, table=True):
    """Something that happened to a job; ids rise in the order in which readers may see them."""

    __tablename__ = "events"
    __table_args__ = (Index("events_of_job", "job_id", "id"),)
    id: int | None = Field(default=None, sa_column=Column(_BIG, primary_key=True, autoincrement=True))
    job_id: str = Field(foreign_key="jobs.id", ondelete="CASCADE")
    time: datetime = Field(default_factory=now)
    type: str
    data: dict[str, Any] = Field(sa_column=Column(_JSON, nullable=False))


class Series(SQLModel, table=True):
    """The summary of one metric of a job."""

    __tablename__ = "series"
    id: int | None = Field(default=None, sa_column=Column(_BIG, primary_key=True, autoincrement=True))
    job_id: str = Field(foreign_key="jobs.id", ondelete="CASCADE")
    key: str
    count: int = Field(default=0, sa_column=Column(_BIG, nullable=False))
    last_step: int = Field(default=-1, sa_column=Column(_BIG, nullable=False))
    last: float | None = None
    min: float | None = None
    max: float | None = None
    min_step: int | None = Field(default=None, sa_column=Column(_BIG))
    max_step: int | None = Field(default=None, sa_column=Column(_BIG))
    __table_args__ = (UniqueConstraint("job_id", "key", name="one_series_a_key"),)


class Chunk(SQLModel, table=True):
    """What a zoomed-out chart needs to know of about 1,024 points in the order of their steps."""

    __tablename__ = "chunks"
    series_id: int = Field(sa_column=Column(_BIG, primary_key=True))
    number: int = Field(primary_key=True)
    count: int
    first_step: int = Field(sa_column=Column(_BIG, nullable=False))
    last_step: int = Field(sa_column=Column(_BIG, nullable=False))
    min: float | None = None
    max: float | None = None
    last: float | None = None


class Points(SQLModel, table=True):
    """The points of a chunk: packed little-endian int64 steps, float64 values, float64 times (seconds)."""

    __tablename__ = "points"
    series_id: int = Field(sa_column=Column(_BIG, primary_key=True))
    number: int = Field(primary_key=True)
    steps: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    values: bytes = Field(sa_column=Column("vals", LargeBinary, nullable=False))
    times: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Component(SQLModel, table=True):
    """A component of a job: the manifest that the training process wrote."""

    __tablename__ = "components"
    __table_args__ = (UniqueConstraint("job_id", "name", name="one_component_a_name"),)
    id: str = Field(primary_key=True)
    job_id: str = Field(foreign_key="jobs.id", ondelete="CASCADE", index=True)
    name: str
    role: str
    epoch: int
    metrics: dict[str, float] = Field(sa_column=Column(_JSON, nullable=False))
    selected_by: str
    config: dict[str, Any] = Field(sa_column=Column(_JSON, nullable=False))
    files: dict[str, Any] = Field(sa_column=Column(_JSON, nullable=False))
    created_at: datetime = Field(default_factory=now)
