"""The log of a job: windows by byte offset, search, and new output as it is written."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query, Request
from starlette.responses import Response

from app.auth.principals import Viewer
from app.http.session import Configured, Reading
from app.jobs import queries
from app.jobs.routes import JobId
from app.models import TERMINAL_STATES, Job, State
from app.settings import Settings
from app.streams import log_windows
from app.web.render import page
from app.web.routing import FOLLOWS, page_router
from app.web.views import log_lines
from core.run.rundir import RunDir
from core.spec.fields import ONE_LINE

router = page_router()
# The panel of a job shows about twenty at a time; its page has all.
TAIL_LINES = 50
# The links to attempts; a job that was preempted more often shows the latest ones.
MAX_ATTEMPTS = 20


def last_lines(settings: Settings, job: Job) -> list[log_lines.LogLine]:
    """The last lines of a job's latest attempt."""
    return log_lines.last_lines(RunDir(settings.runs_dir / job.id).attempt(job.attempt).log, TAIL_LINES)


@router.get("/ui/jobs/{job_id}/log", dependencies=FOLLOWS)
def log_page(
    request: Request,
    job_id: JobId,
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    at: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    attempt: Annotated[int | None, Query(ge=1, le=1_000_000)] = None,
    q: Annotated[str, Query(max_length=200, pattern=ONE_LINE)] = "",
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
) -> Response:
    """A window of a log: the last one, or the one that begins at a byte."""
    job = queries.get_job(session, job_id)
    number = log_windows.requested_attempt(job, attempt)
    file = RunDir(settings.runs_dir / job.id).attempt(number).log
    window = log_lines.log_window(file, at)

    def link(**changes: int | str | None) -> str:
        values: dict[str, Any] = {"attempt": attempt, "q": q or None, "at": None} | changes
        parameters = {name: value for name, value in values.items() if value is not None}
        return f"/ui/jobs/{job.id}/log" + (f"?{urlencode(parameters)}" if parameters else "")

    return page(
        request,
        "log/log.html",
        job=job,
        number=number,
        single=attempt is not None,
        attempts=range(max(1, job.attempt - MAX_ATTEMPTS + 1), job.attempt + 1),
        window=window,
        at=at,
        q=q,
        results=log_windows.search(file, q, after) if q else None,
        link=link,
        is_live=State(job.state) not in TERMINAL_STATES and number == job.attempt,
    )


@router.get("/ui/-/jobs/{job_id}/state")
def state_part(request: Request, job_id: JobId, _principal: Viewer, session: Reading) -> Response:
    """The state of the job whose log is open."""
    return page(request, "log/state.html", job=queries.get_job(session, job_id))
