"""The routes of components: what a job has trained so far, and the files."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from app.auth.principals import Viewer
from app.http.errors import NotFound, NotReady
from app.http.openapi import problem_response
from app.http.query_parameters import Cursor, Limit
from app.http.session import Configured, Reading
from app.jobs import queries
from app.jobs.routes import Filter, JobId
from app.results.components.files import component_response
from app.results.components.partial import partial_response
from app.results.components.queries import (
    ComponentFilter,
    ComponentSort,
    component_with_job_name,
    list_all_components,
    list_components,
)
from app.results.components.schemas import ComponentPage, ComponentView
from core.run.rundir import RunDir

router = APIRouter(prefix="/jobs/{job_id}/components", tags=["components"])
all_router = APIRouter(prefix="/components", tags=["components"])
Role = Literal["expert", "fusion", "head", "complete"]
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get("")
def get_components(job_id: JobId, _principal: Viewer, session: Reading) -> ComponentPage:
    """List the components of a job; they are available during training and afterwards."""
    job = queries.get_job(session, job_id)
    return ComponentPage(items=[ComponentView.of(row, job.name) for row in list_components(session, job_id)])


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
        416: problem_response("The range is outside the file"),
    },
)
def get_component(
    request: Request,
    job_id: JobId,
    name: Annotated[str, Path(max_length=64)],
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    format: Annotated[Literal["pth", "safetensors"] | None, Query(description="by default pth")] = None,
    experts: Annotated[
        str | None,
        Query(max_length=1000, examples=["0,2"], description="of complete: only these experts; always safetensors"),
    ] = None,
) -> Response:
    """Download the file of a component. Interrupted downloads continue with `Range` and `If-Range`."""
    job = queries.get_job(session, job_id)
    rows = {row.name: row for row in list_components(session, job_id)}
    if name not in rows:
        missing = NotFound if rows else NotReady
        raise missing(f"{job_id} has no component {name[:64]!r}; it has {', '.join(rows) or 'none yet'}")
    folder = settings.runs_dir / job_id / "components"
    known = request.headers.get("if-none-match", "")
    if experts is not None:
        return partial_response(job, RunDir(settings.runs_dir / job_id), rows[name], experts, format, known)
    return component_response(job, folder, rows[name].files[format or "pth"], known)


@all_router.get("")
def get_all_components(
    _principal: Viewer,
    session: Reading,
    role: Role | None = None,
    arch: Annotated[Filter, Query(examples=["resnet18"])] = None,
    dataset: Annotated[Filter, Query(examples=["cifar100"])] = None,
    job: Filter = None,
    q: Annotated[Filter, Query(description="part of the name of the job, or start of the component's id")] = None,
    sort: ComponentSort = "-created_at",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ComponentPage:
    """List the components of all jobs, by default newest first. `sort=-score` leaves out those without a score."""
    filters = ComponentFilter(role, arch, dataset, job, q)
    page = list_all_components(session, filters, sort=sort, limit=limit, cursor=cursor)
    items = [ComponentView.of(row, job_name) for row, job_name in page["items"]]
    return ComponentPage(items=items, next_cursor=page["next_cursor"])


@all_router.get("/{component_id}")
def get_component_by_id(
    component_id: Annotated[str, Path(max_length=64, description="`cmp_` and 26 characters")],
    _principal: Viewer,
    session: Reading,
) -> ComponentView:
    """A component: its job, how good it is, and where to download it."""
    return ComponentView.of(*component_with_job_name(session, component_id))
