"""The components that a job started from: where they come from, and what is known of their bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.jobs.provenance_schemas import SourceRecord
from app.jobs.sources import Source
from app.models import Job
from app.settings import Settings
from core.run.durable import DamagedFileError, read_json, read_manifest
from core.run.rundir import RunDir


def source_records(settings: Settings, job: Job, sources: Sequence[Source]) -> list[SourceRecord]:
    """The components that a job started from, by field; empty before its first attempt has read them."""
    digests = _digests(RunDir(settings.runs_dir / job.id))
    return [
        SourceRecord(
            field=source.field,
            content_sha256=digests[source.field],
            identity=_identity(settings, source, digests[source.field]),
            job=source.job_id,
        )
        for source in sources
        if source.is_direct and source.field in digests
    ]


def describe_sources(sources: Sequence[Source], is_bit_exact: Callable[[Job], bool | None]) -> list[str]:
    """A sentence for every job, near or far, whose component this one started from and whose bits are not certain."""
    sentences = []
    for job_id, job in {source.job_id: source.job for source in sources if source.job_id}.items():
        if job is None or not is_bit_exact(job):
            problem = "is not there any more" if job is None else "is not certified bit-exact itself"
            sentences.append(f"It started from a component of {job_id}, which {problem}")
    return sentences


def _digests(run: RunDir) -> dict[str, str]:
    try:
        return dict(read_json(run.sources))
    except (DamagedFileError, OSError):
        return {}


def _identity(settings: Settings, source: Source, content_sha256: str) -> str | None:
    """The identity of a component, if the job still has the version that was read."""
    if source.job_id is None or source.component is None:
        return None
    try:
        manifest = read_manifest(RunDir(settings.runs_dir / source.job_id).components / f"{source.component}.json")
    except (DamagedFileError, OSError):
        return None
    return (manifest.get("identity") or None) if manifest["content_sha256"] == content_sha256 else None
