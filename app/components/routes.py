"""The routes of components: what a job has trained so far, and the files."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from app.auth.principals import Viewer
from app.components.files import component_response
from app.components.queries import list_components
from app.components.schemas import ComponentPage, ComponentView
from app.http.errors import NotFound
from app.http.session import Configured, Reading
from app.jobs import queries
from app.jobs.routes import JobId

router = APIRouter(prefix="/jobs/{job_id}/components", tags=["components"])
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get("")
def get_components(job_id: JobId, _principal: Viewer, session: Reading) -> ComponentPage:
    """List the components of a job; they are available during training and afterwards."""
    queries.get_job(session, job_id)
    return ComponentPage(items=[ComponentView.of(row) for row in list_components(session, job_id)])


@router.head("/{name}", include_in_schema=False)
@router.get(
    "/{name}",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": _BINARY}},
        206: {
            "description": "One range or several",
            "content": {"application/octet-stream": _BINARY, "multipart/byteranges": _BINARY},
        },
        304: {"description": "Not modified"},
        416: {"description": "The range is outside the file"},
    },
)
def get_component(
    request: Request,
    job_id: JobId,
    name: Annotated[str, Path(max_length=64)],
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    format: Annotated[Literal["pth", "safetensors"], Query()] = "pth",
) -> Response:
    """Download the file of a component. Interrupted downloads continue with `Range` and `If-Range`."""
    queries.get_job(session, job_id)
    rows = {row.name: row for row in list_components(session, job_id)}
    if name not in rows:
        raise NotFound(f"{job_id} has no component {name[:64]!r}; it has {', '.join(rows) or 'none yet'}")
    folder = settings.runs_dir / job_id / "components"
    return component_response(folder, rows[name].files[format], request.headers.get("if-none-match", ""))
