"""Jobs over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from app.auth.principals import Member, Principal, Viewer
from app.db import transaction
from app.http.idempotency import IdempotencyKey
from app.http.paging import Cursor, Limit
from app.http.session import Configured, Reading, Writing
from app.jobs import queries, schemas, service
from app.jobs.checking import checked, read_body
from app.jobs.examples import JOB_BODY
from core.spec.fields import ONE_LINE

router = APIRouter(prefix="/jobs", tags=["jobs"])
JobId = Annotated[str, Path(max_length=64, description="`job_` and 26 characters")]
Word = Annotated[str | None, Query(max_length=200, pattern=ONE_LINE)]


@router.post(
    "",
    status_code=201,
    response_model=schemas.JobView,
    openapi_extra=JOB_BODY,
    responses={200: {"model": schemas.JobView | schemas.DryRun}},
)
async def post_job(
    request: Request,
    principal: Member,
    settings: Configured,
    dry_run: bool = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a job. The answer comes when it is stored: from then on it is not lost."""
    body = await request.body()
    return await run_in_threadpool(_post, request, principal, body, settings, dry_run, idempotency_key)


def _post(
    request: Request, principal: Principal, body: bytes, settings: Configured, dry_run: bool, key: str | None
) -> JSONResponse:
    spec = checked(settings, read_body(body))
    if dry_run:
        with request.app.state.reading() as session:
            return JSONResponse(service.preview(session, spec))
    with transaction(request.app.state.engine) as session:
        shown, new = service.submit(session, settings, principal, spec, key=key, body=body)
    return JSONResponse(shown, 201 if new else 200, {"Location": f"/jobs/{shown['id']}"})


@router.get("", response_model=schemas.JobPage)
def get_jobs(
    _asks: Viewer,
    session: Reading,
    state: Annotated[list[schemas.StateName] | None, Query()] = None,
    kind: Literal["expert", "fusion", "head", "evaluate"] | None = None,
    tag: Word = None,
    sweep: Word = None,
    q: Word = None,
    sort: Literal["created_at", "-created_at", "priority", "-priority", "name", "-name"] = "-created_at",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Any:
    """List jobs, newest first unless sorted otherwise; `q` is a part of the name."""
    return queries.list_jobs(
        session, state=list(state or []), kind=kind, tag=tag, sweep=sweep, q=q, sort=sort, limit=limit, cursor=cursor
    )


@router.get("/{job_id}", response_model=schemas.JobView)
def get_job(job_id: JobId, _asks: Viewer, session: Reading) -> Any:
    """A job."""
    return queries.views(session, [queries.get_job(session, job_id)])[0]


@router.delete("/{job_id}", response_model=schemas.Freed)
def delete_job(job_id: JobId, asks: Member, session: Writing, settings: Configured) -> Any:
    """Delete a job that has ended, with its metrics, checkpoints and components."""
    return {"id": job_id, "bytes_freed": service.remove(session, settings, asks, job_id)}


@router.post("/{job_id}/cancel", status_code=202, response_model=schemas.JobView)
def cancel(job_id: JobId, asks: Member, session: Writing, settings: Configured) -> Any:
    """End a job; what it has trained so far stays."""
    return queries.views(session, [service.cancel(session, settings, asks, job_id)])[0]


@router.post("/{job_id}/pause", status_code=202, response_model=schemas.JobView)
def pause(job_id: JobId, asks: Member, session: Writing, settings: Configured) -> Any:
    """Write a checkpoint and free the device."""
    return queries.views(session, [service.pause(session, settings, asks, job_id)])[0]


@router.post("/{job_id}/resume", status_code=202, response_model=schemas.JobView)
def resume(
    job_id: JobId, asks: Member, session: Writing, settings: Configured, change: schemas.Change | None = None
) -> Any:
    """Go on with a paused job, to the same bits as if it had not been paused; on other resources if some are given."""
    return queries.views(session, [service.resume(session, settings, asks, job_id, _resources(change))])[0]


@router.post("/{job_id}/retry", status_code=202, response_model=schemas.JobView)
def retry(
    job_id: JobId, asks: Member, session: Writing, settings: Configured, change: schemas.Change | None = None
) -> Any:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint, on other resources if given."""
    return queries.views(session, [service.retry(session, settings, asks, job_id, _resources(change))])[0]


def _resources(change: schemas.Change | None) -> dict[str, Any] | None:
    return change.resources if change is not None else None


@router.get("/{job_id}/progress", response_model=schemas.Progress)
def get_progress(job_id: JobId, _asks: Viewer, session: Reading) -> Any:
    """How far it is, how fast, and how long it will take."""
    return schemas.progress(queries.get_job(session, job_id))


@router.get("/{job_id}/attempts", response_model=schemas.AttemptPage)
def get_attempts(job_id: JobId, _asks: Viewer, session: Reading) -> Any:
    """Every start of it: where, when, how it ended."""
    queries.get_job(session, job_id)
    return {"items": [schemas.attempt_view(row) for row in queries.list_attempts(session, job_id)], "next_cursor": None}
