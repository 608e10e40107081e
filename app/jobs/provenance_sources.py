"""The components that a job started from: where they come from, and what is known of their bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlmodel import Session

from app.jobs import queries
from app.jobs.provenance_schemas import SourceRecord
from app.models import Job
from app.settings import Settings
from core.run.durable import DamagedFileError, read_json, read_manifest
from core.run.rundir import RunDir
from core.spec import ComponentRef


def source_records(session: Session, settings: Settings, job: Job) -> list[SourceRecord]:
    """The components that a job started from, by field; empty before its first attempt has read them."""
    digests = _digests(RunDir(settings.runs_dir / job.id))
    records = []
    for field, (owner, name) in _origins(session, job).items():
        if field in digests:
            identity = _identity(settings, owner, name, digests[field])
            records.append(SourceRecord(field=field, content_sha256=digests[field], identity=identity, job=owner))
    return records


def describe_sources(session: Session, job: Job, is_bit_exact: Callable[[Job], bool | None]) -> list[str]:
    """A sentence for every job, near or far, whose component this one started from and whose bits are not certain."""
    sentences = []
    for source_id, source in _ancestors(session, job):
        if source is None or not is_bit_exact(source):
            problem = "is not there any more" if source is None else "is not certified bit-exact itself"
            sentences.append(f"It started from a component of {source_id}, which {problem}")
    return sentences


def _ancestors(session: Session, job: Job) -> Iterator[tuple[str, Job | None]]:
    """The jobs that components of a job come from, those of these jobs, and so on; None for one that was deleted."""
    seen, waiting = {job.id}, [job]
    while waiting:
        for owner, _ in _origins(session, waiting.pop()).values():
            if owner is not None and owner not in seen:
                seen.add(owner)
                source = session.get(Job, owner)
                waiting += [source] if source else []
                yield owner, source


def _origins(session: Session, job: Job) -> dict[str, tuple[str | None, str | None]]:
    """By field, the job and the name of every component that a specification references."""
    parts: dict[str, Any] = {f"experts.{k}": part for k, part in enumerate(job.spec.get("experts") or [])}
    parts |= {name: job.spec.get(name) for name in ("expert", "fusion", "head")}
    named = {field: part["from"] for field, part in parts.items() if part and part.get("from")}
    origins: dict[str, tuple[str | None, str | None]] = {}
    for field, reference in named.items():
        row = queries.find_component(session, ComponentRef.model_validate(reference))
        origins[field] = (row.job, row.name) if row else (reference.get("job"), None)
    return origins


def _digests(run: RunDir) -> dict[str, str]:
    try:
        return dict(read_json(run.sources))
    except (DamagedFileError, OSError):
        return {}


def _identity(settings: Settings, owner: str | None, name: str | None, content_sha256: str) -> str | None:
    """The identity of a component, if the job still has the version that was read."""
    if owner is None or name is None:
        return None
    try:
        manifest = read_manifest(RunDir(settings.runs_dir / owner).components / f"{name}.json")
    except (DamagedFileError, OSError):
        return None
    return (manifest.get("identity") or None) if manifest["content_sha256"] == content_sha256 else None
