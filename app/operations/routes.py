"""The routes for those who operate the service."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from app.auth.principals import Viewer
from app.http.errors import Unavailable, summarize
from app.operations.metrics import CONTENT_TYPE, Metrics
from app.operations.readiness import Readiness

router = APIRouter(tags=["service"])
_TEXT: dict[str, Any] = {"content": {"text/plain": {"schema": {"type": "string"}}}}


class Health(BaseModel):
    """The process answers requests."""

    status: Literal["ok"] = "ok"


class PartView(BaseModel):
    """A part of the service. If it is not `ok`, `detail` says what is missing and what that means."""

    name: str
    ok: bool
    detail: str


class Ready(BaseModel):
    """The service can do its work. A part may still be missing without which it can."""

    status: Literal["ready"] = "ready"
    parts: list[PartView]


@router.get("/healthz")
async def healthz() -> Health:
    """Check that the process answers. Needs no token."""
    return Health()


@router.get("/readyz")
async def readyz(request: Request) -> Ready:
    """Check that database, migrations and data folder are usable, and name what is missing. Needs no token."""
    readiness: Readiness = request.app.state.readiness
    parts = await readiness.parts()
    if any(part.required and not part.ok for part in parts):
        missing = [{"loc": [part.name], "msg": part.detail} for part in parts if not part.ok]
        raise Unavailable(summarize(missing), errors=missing, headers={"Retry-After": "2"})
    return Ready(parts=[PartView(name=part.name, ok=part.ok, detail=part.detail) for part in parts])


@router.get("/metrics", response_class=Response, responses={200: _TEXT})
def get_metrics(request: Request, _principal: Viewer) -> Response:
    """Get the metrics of the service in the text format of Prometheus."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.scrape(), media_type=CONTENT_TYPE)
