"""The routes of the cluster: workers, devices, queue, Slurm, and what has been used by whom."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query

from app.auth.principals import Viewer
from app.cluster.schemas import ClusterView, MonthUsage, Usage
from app.cluster.usage import month_usage, usage
from app.cluster.views import cluster_view
from app.http.errors import Invalid
from app.http.session import Reading
from app.jobs.device_time import MONTH

router = APIRouter()


@router.get("/cluster", tags=["cluster"])
def get_cluster(_principal: Viewer, session: Reading) -> ClusterView:
    """Show workers, their devices and jobs, the length of the queue, and the state of Slurm."""
    return cluster_view(session)


@router.get("/usage", tags=["cluster"])
def get_usage(
    _principal: Viewer,
    session: Reading,
    month: Annotated[str | None, Query(description="a month, `2026-11`, in UTC", max_length=100)] = None,
    days: Annotated[int | None, Query(ge=1, le=3650, description="instead of a month, the last days")] = None,
) -> MonthUsage | Usage:
    """Show what each owner's jobs have used in a month, by default the current one, the largest share first."""
    if days is not None and month is not None:
        raise Invalid("days and month exclude each other: give one of them")
    if month is not None and not re.fullmatch(MONTH, month):
        raise Invalid("month: must be a year and a month, such as 2026-11")
    return month_usage(session, month) if days is None else usage(session, days)
