"""Jobs, their tags and dependencies, and what happened to them."""

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
    spec: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    defaulted: list[str] = Field(sa_column=Column(JSON, nullable=False))
    plan: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    progress: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    idempotency_key: str | None = None
    body_sha256: str | None = None
    sweep: str | None = Field(default=None, index=True)
    # Of all that decides what comes out; jobs that have it in common give the same.
    digest: str | None = Field(default=None, index=True)


class Tag(SQLModel, table=True):
    """A tag of a job."""

    __tablename__ = "tags"
    tag: str = Field(primary_key=True)
    job_id: str = Field(primary_key=True, foreign_key="jobs.id", ondelete="CASCADE", index=True)


class Dependency(SQLModel, table=True):
    """A job that starts from components of another, and so waits until that one has ended."""

    __tablename__ = "dependencies"
    job_id: str = Field(primary_key=True, foreign_key="jobs.id", ondelete="CASCADE")
    depends_on: str = Field(primary_key=True, foreign_key="jobs.id", index=True)


class Event(SQLModel, table=True):
    """Something that happened to a job; ids rise in the order in which readers may see them."""

    __tablename__ = "events"
    __table_args__ = (Index("events_of_job", "job_id", "id"),)
    id: int | None = Field(default=None, sa_column=Column(BIG, primary_key=True, autoincrement=True))
    job_id: str = Field(foreign_key="jobs.id", ondelete="CASCADE")
    time: datetime = Field(default_factory=now)
    type: str
    data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
