"""Sweeps and their points."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.db import now
from app.models.columns import JSON


class Sweep(SQLModel, table=True):
    """A grid of jobs. `base`, `grid` and `early_stopping` are as they were given."""

    __tablename__ = "sweeps"
    id: str = Field(primary_key=True)
    name: str
    owner: str
    created_at: datetime = Field(default_factory=now)
    base: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    grid: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    max_parallel: int | None = None
    early_stopping: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    idempotency_key: str | None = None
    body_sha256: str | None = None
    __table_args__ = (UniqueConstraint("owner", "idempotency_key", name="uq_sweeps_owner_idempotency_key"),)


class SweepPoint(SQLModel, table=True):
    """A point of a sweep's grid: the values of its fields, and the job that trains it; `reused` if it was there before.

    The job is null once it has been deleted.
    """

    __tablename__ = "sweep_points"
    sweep_id: str = Field(primary_key=True, foreign_key="sweeps.id", ondelete="CASCADE")
    number: int = Field(primary_key=True)
    job_id: str | None = Field(default=None, foreign_key="jobs.id", ondelete="SET NULL", index=True)
    given: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    reused: bool = False
