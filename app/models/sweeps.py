"""Sweeps and their points."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.db import now
from app.models.columns import JSON


class Sweep(SQLModel, table=True):
    """A grid of jobs. `base`, `grid` and `early_stopping` are stored as submitted.

    `points_per_task` is the number of points that one task of a Slurm job array runs one after another.
    """

    __tablename__ = "sweeps"
    id: str = Field(primary_key=True)
    name: str
    owner: str
    created_at: datetime = Field(default_factory=now)
    base: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    grid: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    max_parallel: int | None = None
    points_per_task: int = 1
    early_stopping: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    idempotency_key: str | None = None
    body_sha256: str | None = None
    __table_args__ = (UniqueConstraint("owner", "idempotency_key", name="uq_sweeps_owner_idempotency_key"),)


class SweepPoint(SQLModel, table=True):
    """One point of a sweep's grid: `point_values` maps the swept fields to their values here.

    `reused` means that the job existed before. The job is null once it has been deleted.
    """

    __tablename__ = "sweep_points"
    sweep_id: str = Field(primary_key=True, foreign_key="sweeps.id", ondelete="CASCADE")
    number: int = Field(primary_key=True)
    job_id: str | None = Field(default=None, foreign_key="jobs.id", ondelete="SET NULL", index=True)
    point_values: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    reused: bool = False
