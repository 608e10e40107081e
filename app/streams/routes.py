"""The routes of a job's events and logs, stored and live."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from app.auth.principals import Viewer
from app.http import paging
from app.http.errors import Invalid
from app.http.openapi import EVENT_STREAM
from app.http.patterns import EVENT_ID
from app.http.query_parameters import Cursor, Limit
from app.http.session import Configured, Reading
from app.jobs import queries, schemas
from app.jobs.routes import JobId, JobIdText
from app.streams import log_windows
from app.streams import queries as stream_queries
from app.streams.all_jobs import sse_of_jobs
from app.streams.events import EventFilter
from app.streams.logs import log_response, window_response
from app.streams.schemas import LogHit, LogSearch
from app.streams.sse import sse
from core.run.rundir import RunDir
from core.spec.fields import ONE_LINE

router = APIRouter(prefix="/jobs", tags=["jobs"])
events_router = APIRouter(tags=["jobs"])
# Ids are below 2^63, and so is every number of 18 digits.
EventId = Annotated[str | None, Header(pattern=EVENT_ID, description="id of the last event that you have")]
AttemptNumber = Annotated[int | None, Query(ge=1, le=1_000_000, description="default: the latest")]
Offset = Annotated[int, Query(ge=0, le=2**62, description="byte offset")]
_OFFSET_HEADERS: dict[str, Any] = {
    f"X-Log-{name}": {"description": what, "schema": {"type": "integer", "minimum": 0}}
    for name, what in (
        ("Start", "Offset of the first byte, unless `follow` is given."),
        ("End", "Offset after the last byte: `at` of the next window."),
        ("Size", "Size of the file in bytes."),
    )
}


@events_router.get("/events", response_class=Response, responses={200: {"content": EVENT_STREAM}})
def get_events_of_jobs(
    request: Request,
    _principal: Viewer,
    session: Reading,
    job: Annotated[list[JobIdText] | None, Query(min_length=1, max_length=200, description="default: all")] = None,
    type: Annotated[list[schemas.EventType] | None, Query(description="default: all", examples=[["state"]])] = None,
    after: Annotated[
        str | None,
        Query(alias="last_event_id", pattern=EVENT_ID, description="for clients that cannot send the header"),
    ] = None,
    last_event_id: EventId = None,
) -> Response:
    """Stream the events of all jobs, or of up to 200, from now on or from the last event that you have.

    `data` names the `job`. Progress comes at most once per second and job. The stream does not end by itself.
    """
    if job:
        queries.require_jobs(session, job)
    start = last_event_id or after
    events = EventFilter(frozenset(job) if job else None, frozenset(type) if type else None)
    return sse_of_jobs(request.app.state.hub, events, None if start is None else int(start))


@router.get("/{job_id}/events", response_model=schemas.EventPage, responses={200: {"content": EVENT_STREAM}})
def get_events(
    request: Request,
    job_id: JobId,
    _principal: Viewer,
    session: Reading,
    type: Annotated[
        list[schemas.EventType] | None, Query(description="only these types, in a list; may be repeated")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    last_event_id: EventId = None,
) -> schemas.EventPage | Response:
    """List the events of a job; with `Accept: text/event-stream`, stream them until the job has ended."""
    queries.require_jobs(session, [job_id])
    after = int(last_event_id or 0)
    if "text/event-stream" in request.headers.get("accept", ""):
        if type:
            raise Invalid("type: a stream has events of all types: leave it out, or ask for JSON")
        return sse(request.app.state.hub, job_id, after, stream_queries.snapshot(session, job_id))
    if cursor:
        after = paging.decode(cursor, [int])[0]
    rows = queries.list_events(session, job_id, after=after, limit=limit + 1, types=type)
    page = paging.page(rows, limit, lambda event: paging.encode(event.id))
    items = [schemas.event_view(event) for event in page["items"]]
    return schemas.EventPage(items=items, next_cursor=page["next_cursor"])


@router.get(
    "/{job_id}/logs",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "headers": _OFFSET_HEADERS}},
)
def get_logs(
    request: Request,
    job_id: JobId,
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    tail: Annotated[int, Query(ge=0, le=100_000, description="number of lines")] = 200,
    follow: Annotated[bool, Query(description="stream new output until the job has ended")] = False,
    attempt: AttemptNumber = None,
    at: Annotated[
        int | None, Query(ge=0, le=2**62, description="byte offset: the window from the line there, not the last lines")
    ] = None,
    bytes: Annotated[
        int, Query(ge=1, le=log_windows.MAX_WINDOW_BYTES, description="size of the window that begins at `at`")
    ] = 64 << 10,
) -> Response:
    """Get the last lines of the output of a job's latest attempt, or of another one; or a window of it by byte offset.

    A window begins and ends with whole lines; a line that is longer than the window is cut.
    """
    job = queries.get_job(session, job_id)
    number = log_windows.requested_attempt(job, attempt)
    run_dir, engine, single = settings.runs_dir / job.id, request.app.state.engine, attempt is not None
    if at is None:
        return log_response(engine, run_dir, job.id, number, tail, follow=follow, single=single)
    if follow:
        raise Invalid("follow: a window by byte offset does not grow: leave out `at` or `follow`")
    return window_response(run_dir, number, at, bytes)


@router.get("/{job_id}/logs/search")
def search_logs(
    job_id: JobId,
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    q: Annotated[str, Query(min_length=1, max_length=200, pattern=ONE_LINE, description="plain text")],
    attempt: AttemptNumber = None,
    after: Offset = 0,
) -> LogSearch:
    """Find the lines of a job's output that contain a text, whether in upper or lower case.

    One call returns at most 200 lines and reads at most 256 MiB; `next_after` says where the next call goes on.
    """
    job = queries.get_job(session, job_id)
    number = log_windows.requested_attempt(job, attempt)
    results = log_windows.search(RunDir(settings.runs_dir / job.id).attempt(number).log, q, after)
    hits = [LogHit(offset=hit.offset, text=hit.text) for hit in results.hits]
    return LogSearch(attempt=number, hits=hits, next_after=results.next_after, size=results.size)
