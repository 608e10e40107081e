"""Quotas as clients send and see them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from app.models import Quota

# What the database can hold.
_MAX_INTEGER, _MAX_BIGINT = 2**31 - 1, 2**63 - 1


class NewQuota(BaseModel):
    """The limits of a user; null is no limit.

    `max_running` jobs run at once. No job starts once `device_hours_per_month` have been used in a calendar month, in
    UTC. With `max_bytes` stored in run directories, nothing new is accepted. None of them stops a running job.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    max_running: Annotated[int, Field(ge=0, le=_MAX_INTEGER)] | None = None
    device_hours_per_month: Annotated[float, Field(ge=0, le=1e9)] | None = None
    max_bytes: Annotated[int, Field(ge=0, le=_MAX_BIGINT)] | None = None


class QuotaView(BaseModel):
    """The limits of a user, or, with the owner `*`, of everyone without a quota of their own; null is no limit."""

    owner: str
    max_running: int | None
    device_hours_per_month: float | None
    max_bytes: int | None

    @classmethod
    def of(cls, quota: Quota) -> Self:
        """The view of a row."""
        return cls.model_validate(quota, from_attributes=True)


class QuotaPage(BaseModel):
    """All quotas; that of `*` comes first."""

    items: list[QuotaView]
    next_cursor: str | None = None
