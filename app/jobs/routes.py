"""The routes under /jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from app.auth.principals import Member, Principal, Viewer
from app.db import reading, transaction
from app.http.idempotency import IdempotencyKey
from app.http.query_parameters import Cursor, Limit
from app.http.responses import json_response
from app.http.session import Configured, Reading, Writing
from app.jobs import queries, schemas, service
from app.jobs.content import columns_of_submission
from app.jobs.examples import JOB_BODY
from app.jobs.list_queries import JobFilter, SortName, count_jobs, list_jobs_as_json
from app.jobs.list_schemas import JobCounts, JobFieldsPage, parse_fields
from app.jobs.quotas import require_space
from app.jobs.validation import parse_body, parse_job
from app.models import State
from core.spec.fields import ONE_LINE

router = APIRouter(prefix="/jobs", tags=["jobs"])
JobId = Annotated[str, Path(max_length=64, description="`job_` and 26 characters")]
# One of several ids in a parameter; whether the job exists is checked afterwards.
JobIdText = Annotated[str, Query(max_length=64)]
Filter = Annotated[str | None, Query(max_length=200, pattern=ONE_LINE)]
SweepFilter = Annotated[
    str | None,
    Query(max_length=200, pattern=ONE_LINE, description="id of a sweep, or `none` for jobs that no sweep created"),
]
SearchText = Annotated[
    str | None, Query(max_length=200, pattern=ONE_LINE, description="part of the name, or start of the id")
]


def _filters(
    kind: schemas.Kind | None = None,
    tag: Filter = None,
    sweep: SweepFilter = None,
    owner: Filter = None,
    q: SearchText = None,
) -> JobFilter:
    return JobFilter(kind, tag, sweep, owner, q)


Filters = Annotated[JobFilter, Depends(_filters)]


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
    """Submit a job. The response is sent once the job is stored: from then on it is not lost."""
    body = await request.body()
    return await run_in_threadpool(_post, request, principal, body, settings, dry_run, idempotency_key)


def _post(
    request: Request, principal: Principal, body: bytes, settings: Configured, dry_run: bool, key: str | None
) -> Response:
    spec = parse_job(settings, parse_body(body))
    if dry_run:
        with reading(request.app.state.engine) as session:
            require_space(session, principal.owner)
            return json_response(service.preview(session, settings, spec))
    # Before the transaction, for which every other writer has to wait.
    columns = columns_of_submission(settings, spec)
    with transaction(request.app.state.engine) as session:
        job, is_new = service.submit(session, settings, principal, spec, key=key, body=body, columns=columns)
    return json_response(job, 201 if is_new else 200, {"Location": f"/jobs/{job.id}"})


@router.get("", response_model=schemas.JobPage | JobFieldsPage)
async def get_jobs(
    request: Request,
    _principal: Viewer,
    filters: Filters,
    state: Annotated[list[State] | None, Query()] = None,
    sort: SortName = "-created_at",
    fields: Annotated[
        str | None,
        Query(
            max_length=500,
            description="names of fields, separated by commas; `summary` for all but `spec`, `defaulted` and `plan`",
            examples=["id,name,state"],
        ),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List jobs, by default newest first. With `sort=-score` jobs without a validation accuracy are left out."""
    page: dict[str, Any] = {"states": state or [], "sort": sort, "limit": limit, "cursor": cursor}
    names = list(schemas.JobView.model_fields) if fields is None else parse_fields(fields)
    content = await request.app.state.lists.run(_list, request.app.state.engine, filters, names, page)
    return Response(content, media_type="application/json")


def _list(engine: Engine, filters: JobFilter, names: Sequence[str], page: dict[str, Any]) -> bytes:
    with reading(engine) as session:
        return list_jobs_as_json(session, filters, names, **page).encode()


# Before the route of one job, which would take `counts` for an id.
@router.get("/counts")
def get_counts(_principal: Viewer, session: Reading, filters: Filters) -> JobCounts:
    """Count the jobs that match by state, up to 10,000 in each, with the same filters as the list."""
    return count_jobs(session, filters)


@router.get("/{job_id}")
def get_job(job_id: JobId, _principal: Viewer, session: Reading) -> schemas.JobView:
    """Show a job."""
    return queries.views(session, [queries.get_job(session, job_id)])[0]


@router.delete("/{job_id}")
def delete_job(job_id: JobId, principal: Member, session: Writing, settings: Configured) -> schemas.Freed:
    """Delete a job that has ended, with its metrics, checkpoints and components."""
    return schemas.Freed(id=job_id, bytes_freed=service.delete(session, settings, principal, job_id))


@router.post("/{job_id}/cancel", status_code=202)
def cancel(job_id: JobId, principal: Member, session: Writing, settings: Configured) -> schemas.JobView:
    """Cancel a job. What it has trained so far is kept."""
    return queries.views(session, [service.cancel(session, settings, principal, job_id)])[0]


@router.post("/{job_id}/pause", status_code=202)
def pause(job_id: JobId, principal: Member, session: Writing, settings: Configured) -> schemas.JobView:
    """Pause a job: it writes a checkpoint and frees the device."""
    return queries.views(session, [service.pause(session, settings, principal, job_id)])[0]


@router.post("/{job_id}/resume", status_code=202)
def resume(
    job_id: JobId, principal: Member, session: Writing, settings: Configured, change: schemas.Change | None = None
) -> schemas.JobView:
    """Resume a paused job. The result has the same bits as without the pause, unless cpus, gpus or nodes change."""
    resources = change.changed_resources() if change else None
    return queries.views(session, [service.resume(session, settings, principal, job_id, resources)])[0]


@router.post("/{job_id}/retry", status_code=202)
def retry(
    job_id: JobId, principal: Member, session: Writing, settings: Configured, change: schemas.Change | None = None
) -> schemas.JobView:
    """Queue a failed or cancelled job again. It resumes from its latest checkpoint, if there is one."""
    resources = change.changed_resources() if change else None
    return queries.views(session, [service.retry(session, settings, principal, job_id, resources)])[0]


@router.get("/{job_id}/progress")
def get_progress(job_id: JobId, _principal: Viewer, session: Reading) -> schemas.Progress:
    """Show how far a job is, how fast it trains, and how long it will take."""
    return schemas.progress_of(queries.get_job(session, job_id))


@router.get("/{job_id}/attempts")
def get_attempts(job_id: JobId, _principal: Viewer, session: Reading) -> schemas.AttemptPage:
    """List the attempts of a job: where and when each ran, and how it ended."""
    queries.get_job(session, job_id)
    attempts = queries.list_attempts(session, job_id)
    return schemas.AttemptPage(items=[schemas.AttemptView.model_validate(attempt) for attempt in attempts])
