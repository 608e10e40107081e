"""A job's events and logs over HTTP, live or not."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from app.auth.principals import Viewer
from app.http import paging
from app.http.errors import Invalid, NotFound
from app.http.openapi import EVENT_STREAM
from app.http.paging import Cursor, Limit
from app.http.session import Configured, Reading
from app.jobs import queries, schemas
from app.jobs.routes import JobId
from app.streams.logs import log_stream
from app.streams.sse import sse

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("/{job_id}/events", response_model=schemas.EventPage, responses={200: {"content": EVENT_STREAM}})
def get_events(
    request: Request,
    job_id: JobId,
    _asks: Viewer,
    session: Reading,
    limit: Limit = 100,
    cursor: Cursor = None,
    last_event_id: Annotated[str | None, Header(max_length=32)] = None,
) -> Any:
    """What happened to it; with `Accept: text/event-stream` as a stream that goes on until the job has ended."""
    queries.get_job(session, job_id)
    if last_event_id is not None and not (last_event_id.isascii() and last_event_id.isdigit()):
        raise Invalid("Last-Event-ID: give the id of the last event you have, a whole number")
    after = min(int(last_event_id), 2**62) if last_event_id else 0
    if "text/event-stream" in request.headers.get("accept", ""):
        return sse(request.app.state.hub, job_id, after)
    if cursor:
        after = paging.decode(cursor, [int])[0]
    found = queries.list_events(session, job_id, after=after, limit=limit + 1)
    shown = paging.page(found, limit, lambda event: paging.encode(event.id))
    return shown | {"items": [schemas.event_view(event) for event in shown["items"]]}


@router.get(
    "/{job_id}/logs",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_logs(
    request: Request,
    job_id: JobId,
    _asks: Viewer,
    session: Reading,
    settings: Configured,
    tail: Annotated[int, Query(ge=0, le=100_000)] = 200,
    follow: bool = False,
    attempt: Annotated[int | None, Query(ge=1, le=1_000_000)] = None,
) -> Response:
    """The output of its newest attempt, or of another: the last lines, and with `follow` what comes until it ends."""
    job = queries.get_job(session, job_id)
    if attempt is not None and attempt > job.attempt:
        raise NotFound(f"{job.id} has no attempt {attempt}: it has had {job.attempt}")
    its, alone = attempt or job.attempt, attempt is not None
    folder = settings.runs_dir / job.id
    return log_stream(request.app.state.hub, folder, job.id, its, tail, follow=follow, alone=alone)
