"""Which ended jobs are deleted automatically, what was deleted, and files that are still to be removed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from app.models.columns import BIG, JSON


class Retention(SQLModel, table=True):
    """The retention policy: one row, or none before it is first set. All times are the database's clock.

    `revision` increases with every change, so that a run of the policy before ends.
    """

    __tablename__ = "retention"
    id: int = Field(default=1, primary_key=True)
    policy: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    revision: int = 1
    changed_at: datetime
    changed_by: str
    # Null while there are no rules.
    next_run_at: datetime | None = None
    last_run_at: datetime | None = None


class RetentionRun(SQLModel, table=True):
    """A run that deleted something; its numbers grow with each deletion, in the same transaction."""

    __tablename__ = "retention_runs"
    id: str = Field(primary_key=True)
    started_at: datetime
    # A user, or the worker of a machine.
    started_by: str
    jobs: int = 0
    # Jobs of which only the checkpoints were deleted.
    checkpoints: int = 0
    bytes_freed: int = Field(default=0, sa_column=Column(BIG, nullable=False))


class FileDeletion(SQLModel, table=True):
    """A job whose files, or whose checkpoints if the job still exists, are to be removed.

    It is written in the transaction that deletes them for users, and deleted when they are gone from the disk: what a
    killed process leaves behind is removed later.
    """

    __tablename__ = "file_deletions"
    job_id: str = Field(primary_key=True)
