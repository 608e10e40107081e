"""Metric series, stored as chunks of about 1,024 points instead of one row per point."""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.models.columns import BIG


class Series(SQLModel, table=True):
    """The summary of one metric of a job. Steps of the minimum and maximum are those of their first occurrence."""

    __tablename__ = "series"
    id: int | None = Field(default=None, sa_column=Column(BIG, primary_key=True, autoincrement=True))
    job_id: str = Field(foreign_key="jobs.id", ondelete="CASCADE")
    key: str
    count: int = Field(default=0, sa_column=Column(BIG, nullable=False))
    last_step: int = Field(default=-1, sa_column=Column(BIG, nullable=False))
    last: float | None = None
    min: float | None = None
    max: float | None = None
    min_step: int | None = Field(default=None, sa_column=Column(BIG))
    max_step: int | None = Field(default=None, sa_column=Column(BIG))
    __table_args__ = (UniqueConstraint("job_id", "key", name="uq_series_job_id_key"),)


class Chunk(SQLModel, table=True):
    """The summary of one chunk of a series; a zoomed-out chart reads nothing else."""

    __tablename__ = "chunks"
    series_id: int = Field(sa_column=Column(BIG, primary_key=True))
    number: int = Field(primary_key=True)
    count: int
    first_step: int = Field(sa_column=Column(BIG, nullable=False))
    last_step: int = Field(sa_column=Column(BIG, nullable=False))
    min: float | None = None
    max: float | None = None
    last: float | None = None
    # The mean of the finite values, and the time of the last point in Unix seconds.
    mean: float | None = None
    last_time: float | None = None


class ChunkData(SQLModel, table=True):
    """The points of a chunk: packed little-endian int64 steps, float64 values, float64 times (Unix seconds)."""

    __tablename__ = "chunk_data"
    series_id: int = Field(sa_column=Column(BIG, primary_key=True))
    number: int = Field(primary_key=True)
    steps: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    values: bytes = Field(sa_column=Column("vals", LargeBinary, nullable=False))
    times: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
