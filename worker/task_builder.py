"""Builds the tasks of training processes, which cannot query the database."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from app.jobs.capacity import num_devices
from app.models import Job
from app.settings import Settings
from core.run.protocol import Task
from core.run.rundir import RunDir
from core.spec.resources import HANG_TIMEOUT_MIN
from worker import queries
from worker.executors.base import Submission


class TaskBuilder:
    """Builds tasks in one transaction; looks up each component once."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self._session = session
        self._settings = settings
        self._paths: dict[tuple[str | None, str], str] = {}

    def build(self, job: Job, attempt: int, submission: Submission) -> Task:
        """The task of an attempt."""
        return Task(
            job_id=job.id,
            attempt=attempt,
            spec=self._with_paths(job.spec),
            data_roots=[str(root) for root in self._settings.roots],
            device=submission.device,
            processes=len(submission.devices) if submission.devices else num_devices(submission.resources),
            time_limit_min=submission.resources["time_limit_min"],
            # Specifications that were stored before this field existed lack it.
            hang_timeout_min=submission.resources.get("hang_timeout_min", HANG_TIMEOUT_MIN),
            lead_s=submission.lead_s,
            content_cache=str(self._settings.content_cache),
        )

    def _with_paths(self, value: Any) -> Any:
        """A copy of (a part of) a specification in which files replace references to components."""
        if isinstance(value, list):
            return [self._with_paths(item) for item in value]
        if not isinstance(value, dict):
            return value
        copy = {key: self._with_paths(item) for key, item in value.items()}
        reference = copy.get("from")
        if isinstance(reference, dict) and reference.get("component"):
            key = (reference.get("job"), reference["component"])
            if key not in self._paths:
                self._paths[key] = self._path(*key)
            copy["from"] = {"path": self._paths[key]}
        return copy

    def _path(self, job_id: str | None, component: str) -> str:
        row = queries.component_of(self._session, job_id, component)
        # If the component does not exist, the training process reports this path.
        owner = row.job_id if row else job_id or "deleted"
        file = row.files["pth"]["place"] if row else f"{component}.missing"
        return str(RunDir(self._settings.runs_dir / owner).components / file)
