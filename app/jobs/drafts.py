"""New jobs: the columns of their rows, and their insertion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlmodel import Session
from ulid import ULID

from app.jobs import queries
from app.jobs.digest import digest
from app.jobs.references import References
from app.models import Job, State
from core.spec import JobSpec, defaulted, resolve


class Draft(NamedTuple):
    """A job that has not been inserted yet."""

    job: Job
    tags: list[str]
    depends_on: tuple[str, ...]


def job_columns(spec: JobSpec) -> dict[str, Any]:
    """The columns of a job's row that follow from its specification alone."""
    resolved = resolved_columns(spec)
    return {
        "kind": spec.kind,
        "name": spec.name,
        "priority": spec.priority,
        "executor": spec.resources.executor,
        "digest": digest(resolved["spec"]),
        **resolved,
    }


def resolved_columns(spec: JobSpec) -> dict[str, Any]:
    """The specification as resolved, and the paths of the fields that were not given."""
    return {"spec": resolve(spec).model_dump(mode="json", by_alias=True), "defaulted": defaulted(spec)}


def new_job(spec: JobSpec, refs: References, columns: dict[str, Any]) -> Draft:
    """A new job with these columns: `job_columns`, the owner, and whatever else its row needs."""
    state = State.waiting if refs.unfinished else State.queued
    job = Job(**{"id": f"job_{ULID()}"} | columns, state=state)
    return Draft(job, sorted(set(spec.tags)), refs.jobs)


def insert_jobs(session: Session, drafts: Sequence[Draft]) -> None:
    """Stores new jobs; the caller nudges the workers."""
    tags = [{"job_id": draft.job.id, "tag": tag} for draft in drafts for tag in draft.tags]
    dependencies = [{"job_id": draft.job.id, "depends_on": other} for draft in drafts for other in draft.depends_on]
    queries.insert_jobs(session, [draft.job for draft in drafts], tags, dependencies)
