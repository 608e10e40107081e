"""One action on several jobs, each in a transaction of its own: one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from app.auth.principals import Principal
from app.db import reading, transaction
from app.http.errors import Invalid, Problem
from app.jobs import queries, service
from app.jobs.disk_space import disk_usage
from app.settings import Settings
from app.web.views import words

ACTIONS = {
    "cancel": "Cancel",
    "pause": "Pause",
    "resume": "Resume",
    "retry": "Retry",
    "delete": "Delete",
}


@dataclass(frozen=True)
class JobOutcome:
    """What an action did to a job; `error` is empty if it was done."""

    job_id: str
    done: str
    error: str


def apply_to_jobs(request: Request, principal: Principal, do: str, ids: Sequence[str]) -> list[JobOutcome]:
    """Does it to each job; Invalid for an unknown action or no jobs."""
    if do not in ACTIONS:
        raise Invalid(f"there is no action {do[:20]!r}: {', '.join(ACTIONS)} are possible")
    if not ids:
        raise Invalid("no job is selected: check the boxes of some first")
    return [_apply(request, principal, do, job_id) for job_id in ids]


def _apply(request: Request, principal: Principal, do: str, job_id: str) -> JobOutcome:
    settings: Settings = request.app.state.settings
    try:
        with transaction(request.app.state.engine) as session:
            if do == "delete":
                size = service.delete(session, settings, principal, job_id)
                return JobOutcome(job_id, f"deleted, {words.size(size)} freed", "")
            job = getattr(service, do)(session, settings, principal, job_id)
            return JobOutcome(job_id, f"is {job.state}", "")
    except Problem as problem:
        return JobOutcome(job_id, "", problem.detail)


def confirmation(request: Request, ids: Sequence[str]) -> dict[str, Any]:
    """What to ask before jobs are deleted: their names, and how many bytes that frees."""
    settings: Settings = request.app.state.settings
    with reading(request.app.state.engine) as session:
        jobs = queries.views(session, [queries.get_job(session, job_id) for job_id in ids])
    size = sum(disk_usage(settings.runs_dir / job.id) for job in jobs)
    return {"jobs": jobs, "bytes": size}
