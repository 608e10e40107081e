"""The routes for those who operate the service."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from app.auth.principals import Viewer
from app.operations.metrics import CONTENT_TYPE, Metrics

router = APIRouter(tags=["service"])
_TEXT: dict[str, Any] = {"content": {"text/plain": {"schema": {"type": "string"}}}}


@router.get("/metrics", response_class=Response, responses={200: _TEXT})
def get_metrics(request: Request, _principal: Viewer) -> Response:
    """Get the metrics of the service in the text format of Prometheus."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.scrape(), media_type=CONTENT_TYPE)
