"""The routes of the cluster: workers, devices, queue, Slurm, and what has been used by whom."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.auth.principals import Viewer
from app.cluster.schemas import ClusterView, Usage
from app.cluster.usage import usage
from app.cluster.views import cluster_view
from app.http.session import Reading

router = APIRouter()


@router.get("/cluster", tags=["cluster"])
def get_cluster(_principal: Viewer, session: Reading) -> ClusterView:
    """Show workers, their devices and jobs, the length of the queue, and the state of Slurm."""
    return cluster_view(session)


@router.get("/usage", tags=["cluster"])
def get_usage(
    _principal: Viewer, session: Reading, days: Annotated[int, Query(ge=1, le=3650, description="up to now")] = 30
) -> Usage:
    """Show how many device-hours each owner's jobs have used, the largest share first."""
    return usage(session, days)
