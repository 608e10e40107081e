"""Changes the resources of a job that is not running: more memory, more time, another executor."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from app.http.errors import InvalidSpec
from app.jobs import references
from app.jobs.digest import digest
from app.jobs.validation import parse_job
from app.models import Job
from app.settings import Settings
from core.spec.result_neutral_fields import result_fields


def with_resources(session: Session, settings: Settings, job: Job, resources: dict[str, Any]) -> dict[str, Any]:
    """The columns of a job's row with some of its resources replaced; the others stay. Raises InvalidSpec."""
    parsed = parse_job(settings, job.spec | {"resources": _merge(job.spec["resources"], resources)}, stored=True)
    errors = references.executor_errors(session, parsed)
    if errors:
        raise InvalidSpec.of(errors)
    spec = job.spec | {"resources": parsed.resources.model_dump(mode="json")}
    changed = _paths(resources, "resources")
    return {
        "spec": spec,
        "executor": parsed.resources.executor,
        "defaulted": [path for path in job.defaulted if path not in changed],
        "digest": _digest(job, spec),
    }


def _digest(job: Job, spec: dict[str, Any]) -> str | None:
    """The digest of a changed job: null if attempts with other decisive resources contribute to the result."""
    if job.attempt == 0:
        return digest(spec)
    return job.digest if result_fields(spec) == result_fields(job.spec) else None


def _merge(current: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = {**current, **changes}
    if isinstance(changes.get("slurm"), dict) and isinstance(current.get("slurm"), dict):
        merged["slurm"] = {**current["slurm"], **changes["slurm"]}
    return merged


def _paths(values: dict[str, Any], prefix: str) -> set[str]:
    paths: set[str] = set()
    for name, value in values.items():
        paths |= _paths(value, f"{prefix}.{name}") if isinstance(value, dict) else {f"{prefix}.{name}"}
    return paths
