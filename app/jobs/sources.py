"""The jobs whose components a job started from, those that these started from, and so on."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlmodel import Session

from app.jobs import queries
from app.models import Job
from core.spec import ComponentRef


class Source(NamedTuple):
    """A job that a field of a specification comes from; `job` is None if it has been deleted.

    With `is_direct` the field names `component` of that job, which is None if it is gone; otherwise the job lies before
    one that it names.
    """

    field: str
    job_id: str | None
    component: str | None
    job: Job | None
    is_direct: bool = True


def source_jobs(session: Session, job: Job) -> list[Source]:
    """For each field that names a component, the job that it comes from, and all jobs before that one."""
    sources: list[Source] = []
    known: dict[str, list[Source]] = {}
    for direct in _direct_sources(session, job):
        waiting, seen = [direct], {job.id}
        while waiting:
            source = waiting.pop()
            sources.append(source)
            if source.job is None or source.job.id in seen:
                continue
            seen.add(source.job.id)
            if source.job.id not in known:
                known[source.job.id] = _direct_sources(session, source.job)
            waiting += [
                earlier._replace(field=direct.field, is_direct=False)
                for earlier in known[source.job.id]
                if earlier.job_id not in seen
            ]
    return sources


def _direct_sources(session: Session, job: Job) -> list[Source]:
    """The components that a specification names, by field: `expert`, `experts.0` and so on, `fusion`, `head`."""
    parts: dict[str, Any] = {f"experts.{k}": part for k, part in enumerate(job.spec.get("experts") or [])}
    parts |= {name: job.spec.get(name) for name in ("expert", "fusion", "head")}
    named = {field: part["from"] for field, part in parts.items() if part and part.get("from")}
    sources = []
    for field, reference in named.items():
        row = queries.find_component(session, ComponentRef.model_validate(reference))
        job_id = row.job if row else reference.get("job")
        sources.append(Source(field, job_id, row.name if row else None, session.get(Job, job_id) if job_id else None))
    return sources
