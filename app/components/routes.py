"""Components over HTTP: what a job has trained so far, and the files."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel
from sqlmodel import col, select
from starlette.responses import FileResponse, MalformedRangeHeader, Response

from app.auth.principals import Viewer
from app.http.errors import NotFound
from app.http.session import Configured, Reading
from app.jobs import queries
from app.jobs.routes import JobId
from app.models import Component

router = APIRouter(prefix="/jobs/{job_id}/components", tags=["components"])


class Format(BaseModel):
    """One file of a component."""

    bytes: int
    sha256: str
    file_name: str
    link: str


class ComponentView(BaseModel):
    """A component: the best so far, by the metric that `selected_by` names. `sha256` and `bytes` are of the `.pth`."""

    id: str
    name: str
    role: str
    epoch: int
    metrics: dict[str, float | None]
    selected_by: str
    sha256: str
    bytes: int
    formats: dict[str, Format]


class ComponentPage(BaseModel):
    """The components of a job."""

    items: list[ComponentView]
    next_cursor: str | None = None


class _Blocks(FileResponse):
    # The default of 64 KiB costs a switch of threads and a system call each.
    chunk_size = 1 << 20

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        # A range that says nothing, or in a unit that is none of ours, is ignored (RFC 9110, 14.2): all is sent.
        try:
            return super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:
            return []


@router.get("", response_model=ComponentPage)
def get_components(job_id: JobId, _asks: Viewer, session: Reading) -> Any:
    """What there is to download, while it trains and after."""
    queries.get_job(session, job_id)
    rows = session.exec(select(Component).where(Component.job_id == job_id).order_by(col(Component.name)))
    return {"items": [_view(row) for row in rows], "next_cursor": None}


@router.head("/{name}", include_in_schema=False)
@router.get(
    "/{name}",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        206: {
            "description": "A range, or several",
            "content": {
                media: {"schema": {"type": "string", "format": "binary"}}
                for media in ("application/octet-stream", "multipart/byteranges")
            },
        },
        304: {"description": "Not modified"},
        416: {"description": "No such range"},
    },
)
def get_component(
    request: Request,
    job_id: JobId,
    name: Annotated[str, Path(max_length=64)],
    _asks: Viewer,
    session: Reading,
    settings: Configured,
    format: Annotated[Literal["pth", "safetensors"], Query()] = "pth",
) -> Response:
    """The file of a component. Broken off, it goes on with `Range` and `If-Range`."""
    queries.get_job(session, job_id)
    rows = {row.name: row for row in session.exec(select(Component).where(Component.job_id == job_id))}
    row = rows.get(name)
    if row is None:
        have = ", ".join(sorted(rows)) or "none yet"
        raise NotFound(f"{job_id} has no component {name[:64]!r}; it has {have}")
    entry = row.files[format]
    etag = f'"{entry["sha256"]}"'
    digest = base64.b64encode(bytes.fromhex(entry["sha256"])).decode()
    headers = {
        "ETag": etag,
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "no-cache",
        "Content-Disposition": f'attachment; filename="{entry["name"]}"',
    }
    if etag in [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    # The name of the file is the training process's, never the request's.
    file = settings.runs_dir / job_id / "components" / entry["file"]
    if not file.is_file():
        raise NotFound(f"{name} was replaced by a better one this moment: ask again")
    return _Blocks(file, media_type="application/octet-stream", headers=headers, stat_result=file.stat())


def _view(row: Component) -> dict[str, Any]:
    link = f"/jobs/{row.job_id}/components/{row.name}"
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "epoch": row.epoch,
        "metrics": row.metrics,
        "selected_by": row.selected_by,
        "sha256": row.files["pth"]["sha256"],
        "bytes": row.files["pth"]["bytes"],
        "formats": {
            ending: {
                "bytes": entry["bytes"],
                "sha256": entry["sha256"],
                "file_name": entry["name"],
                "link": f"{link}?format={ending}",
            }
            for ending, entry in row.files.items()
        },
    }
