"""The routes of a job's events and logs, stored and live."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from app.auth.principals import Viewer
from app.http import paging
from app.http.errors import NotFound
from app.http.openapi import EVENT_STREAM
from app.http.paging import Cursor, Limit
from app.http.session import Configured, Reading
from app.jobs import queries, schemas
from app.jobs.routes import JobId
from app.streams.logs import log_response
from app.streams.sse import sse

router = APIRouter(prefix="/jobs", tags=["jobs"])
# Ids are below 2^63, and so is every number of 18 digits.
EventId = Annotated[str | None, Header(pattern="^[0-9]{1,18}$", description="id of the last event that you have")]


@router.get("/{job_id}/events", response_model=schemas.EventPage, responses={200: {"content": EVENT_STREAM}})
def get_events(
    request: Request,
    job_id: JobId,
    _principal: Viewer,
    session: Reading,
    limit: Limit = 100,
    cursor: Cursor = None,
    last_event_id: EventId = None,
) -> schemas.EventPage | Response:
    """List the events of a job; with `Accept: text/event-stream`, stream them until the job has ended."""
    queries.get_job(session, job_id)
    after = int(last_event_id or 0)
    if "text/event-stream" in request.headers.get("accept", ""):
        return sse(request.app.state.hub, job_id, after)
    if cursor:
        after = paging.decode(cursor, [int])[0]
    rows = queries.list_events(session, job_id, after=after, limit=limit + 1)
    page = paging.page(rows, limit, lambda event: paging.encode(event.id))
    items = [schemas.event_view(event) for event in page["items"]]
    return schemas.EventPage(items=items, next_cursor=page["next_cursor"])


@router.get(
    "/{job_id}/logs",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_logs(
    request: Request,
    job_id: JobId,
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    tail: Annotated[int, Query(ge=0, le=100_000, description="number of lines")] = 200,
    follow: Annotated[bool, Query(description="stream new output until the job has ended")] = False,
    attempt: Annotated[int | None, Query(ge=1, le=1_000_000, description="default: the latest")] = None,
) -> Response:
    """Get the last lines of the output of a job's latest attempt, or of another one."""
    job = queries.get_job(session, job_id)
    if attempt is not None and attempt > job.attempt:
        raise NotFound(f"{job.id} has no attempt {attempt}: it has had {job.attempt}")
    run_dir, engine, single = settings.runs_dir / job.id, request.app.state.engine, attempt is not None
    return log_response(engine, run_dir, job.id, attempt or job.attempt, tail, follow=follow, single=single)
