"""Limits of users, and the device time that they have used."""

from __future__ import annotations

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from app.models.columns import BIG


class Quota(SQLModel, table=True):
    """The limits of one owner of jobs, or, with the owner `*`, of everyone without a row of their own.

    Null is no limit. A row without any limit exempts its owner from those of `*`.
    """

    __tablename__ = "quotas"
    owner: str = Field(primary_key=True)
    max_running: int | None = None
    device_hours_per_month: float | None = None
    max_bytes: int | None = Field(default=None, sa_column=Column(BIG))


class DeviceTime(SQLModel, table=True):
    """The device time of an owner's ended attempts in a calendar month (`2026-11`, UTC), in device-seconds.

    It belongs to no job, so that deleting jobs gives no time back, and it is read without reading attempts.
    """

    __tablename__ = "device_time"
    month: str = Field(primary_key=True)
    owner: str = Field(primary_key=True)
    gpu_s: float = 0.0
    cpu_s: float = 0.0
