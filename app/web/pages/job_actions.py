"""The forms of a job's page: pause, resume, cancel, retry, delete."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from app.auth.principals import Member
from app.http.session import Configured, Reading, Writing
from app.jobs import queries, service
from app.jobs.disk_space import disk_usage
from app.jobs.routes import JobId
from app.models import TERMINAL_STATES, State
from app.web.render import page
from app.web.routing import page_router
from app.web.session import safe_target
from app.web.views.job_actions import may_change

router = page_router(prefix="/ui/jobs")
# The page to go back to, where the form was about another job.
Next = Annotated[str, Form(max_length=2000)]
Count = Annotated[int | None, Form(ge=0, le=2**31)]


def _back(job_id: str, target: str) -> Response:
    return RedirectResponse(safe_target(target) if target else f"/ui/jobs/{job_id}", 303)


def _resources(
    memory_gb: Count = None, cpus: Count = None, gpus: Count = None, time_limit_min: Count = None
) -> dict[str, Any] | None:
    values = {"memory_gb": memory_gb, "cpus": cpus, "gpus": gpus, "time_limit_min": time_limit_min}
    return {name: value for name, value in values.items() if value is not None} or None


Resources = Annotated[dict[str, Any] | None, Depends(_resources)]


@router.post("/{job_id}/pause")
def pause(job_id: JobId, principal: Member, session: Writing, settings: Configured, next: Next = "") -> Response:
    """Pause a job."""
    service.pause(session, settings, principal, job_id)
    return _back(job_id, next)


@router.post("/{job_id}/cancel")
def cancel(job_id: JobId, principal: Member, session: Writing, settings: Configured, next: Next = "") -> Response:
    """Cancel a job."""
    service.cancel(session, settings, principal, job_id)
    return _back(job_id, next)


@router.post("/{job_id}/resume")
def resume(
    job_id: JobId,
    principal: Member,
    session: Writing,
    settings: Configured,
    resources: Resources,
    next: Next = "",
) -> Response:
    """Resume a paused job, or change the resources of a queued one."""
    service.resume(session, settings, principal, job_id, resources)
    return _back(job_id, next)


@router.post("/{job_id}/retry")
def retry(
    job_id: JobId,
    principal: Member,
    session: Writing,
    settings: Configured,
    resources: Resources,
    next: Next = "",
) -> Response:
    """Queue a job again, with some resources changed if they are given."""
    service.retry(session, settings, principal, job_id, resources)
    return _back(job_id, next)


@router.get("/{job_id}/delete")
def delete_page(request: Request, job_id: JobId, principal: Member, session: Reading, settings: Configured) -> Response:
    """Asks before a job is deleted, and says how much space that frees."""
    job = queries.get_job(session, job_id)
    users = queries.dependents(session, job_id, unfinished=True)
    return page(
        request,
        "job/delete.html",
        job=job,
        size=disk_usage(settings.runs_dir / job.id),
        users=users,
        has_ended=State(job.state) in TERMINAL_STATES,
        allowed=may_change(principal, job.owner),
    )


@router.post("/{job_id}/delete")
def delete(job_id: JobId, principal: Member, session: Writing, settings: Configured) -> Response:
    """Delete a job that has ended, with all its files."""
    service.delete(session, settings, principal, job_id)
    return RedirectResponse("/ui/jobs", 303)
