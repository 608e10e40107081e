"""The jobs whose components a job started from: whether they, and those before them, had its data."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlmodel import Session

from app.jobs import queries
from app.models import Job
from app.results.report.data_content import DataContent
from core.spec import ComponentRef


class Source(NamedTuple):
    """A job, near or far, that a part of a model comes from; `job` is None if it has been deleted."""

    part: str
    job_id: str | None
    job: Job | None


def sources_of(session: Session, job: Job) -> list[Source]:
    """The jobs that the parts of a job come from, those that these come from, and so on."""
    sources: list[Source] = []
    known: dict[str, list[Source]] = {}
    for part, job_id, source in _origins(session, job):
        waiting, seen = [(job_id, source)], {job.id}
        while waiting:
            job_id, source = waiting.pop()
            sources.append(Source(part, job_id, source))
            if source is None or source.id in seen:
                continue
            seen.add(source.id)
            if source.id not in known:
                known[source.id] = _origins(session, source)
            waiting += [(other_id, other) for _, other_id, other in known[source.id] if other_id not in seen]
    return sources


def why_other_data(sources: list[Source], data: DataContent) -> str | None:
    """Which part of a model was trained on other data than the job, as a clause; None if none is known to be."""
    for part, _, job in sources:
        if job is not None and (why := data.why_other(job)):
            return f"{part} {why}"
    return None


def data_notes(sources: list[Source], data: DataContent) -> list[str]:
    """What parts of a model were trained on other data than the job, or perhaps were."""
    notes = []
    other = [(f"{part} ({job.id}) {why}") for part, _, job in sources if job and (why := data.why_other(job))]
    if other:
        notes.append(f"Not all of this model was trained on the data of this job: {'; '.join(dict.fromkeys(other))}.")
    unknown = [f"{part} ({job_id})" for part, job_id, job in sources if job is None or data.is_same(job) is None]
    if unknown:
        notes.append(
            f"On which data these were trained is not known, so they may be others than those of this job: "
            f"{', '.join(dict.fromkeys(unknown))}."
        )
    return notes


def _origins(session: Session, job: Job) -> list[Source]:
    """The parts of a job that start from a component, with its job."""
    origins = []
    parts: dict[str, Any] = {f"expert {k}": part for k, part in enumerate(job.spec.get("experts") or [])}
    parts |= {"expert 0": job.spec["expert"]} if job.spec.get("expert") else {}
    parts |= {"the fusion module": job.spec.get("fusion"), "the head": job.spec.get("head")}
    for part, fields in parts.items():
        reference = (fields or {}).get("from")
        if reference:
            row = queries.find_component(session, ComponentRef.model_validate(reference))
            job_id = row.job if row else reference.get("job") or reference.get("component")
            origins.append(Source(part, job_id, session.get(Job, job_id) if row else None))
    return origins
