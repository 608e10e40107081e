"""Other resources for a job that does not train at the moment: more memory, more time, another executor."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from app.http.errors import InvalidSpec
from app.jobs import references
from app.jobs.checking import checked
from app.models import Job
from app.settings import Settings


def with_resources(session: Session, settings: Settings, job: Job, given: dict[str, Any]) -> dict[str, Any]:
    """The columns of a job with other resources; what is not given stays. Raises InvalidSpec."""
    resources = _merged(job.spec["resources"], given)
    spec = checked(settings, job.spec | {"resources": resources})
    errors = references.executor_errors(session, spec)
    if errors:
        raise InvalidSpec.of(errors)
    paths = _paths(given, "resources")
    return {
        "spec": job.spec | {"resources": spec.resources.model_dump(mode="json")},
        "executor": spec.resources.executor,
        "defaulted": [path for path in job.defaulted if path not in paths],
    }


def _merged(now: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    both = {**now, **given}
    if isinstance(given.get("slurm"), dict) and isinstance(now.get("slurm"), dict):
        both["slurm"] = {**now["slurm"], **given["slurm"]}
    return both


def _paths(given: dict[str, Any], prefix: str) -> set[str]:
    found: set[str] = set()
    for name, value in given.items():
        found |= _paths(value, f"{prefix}.{name}") if isinstance(value, dict) else {f"{prefix}.{name}"}
    return found
