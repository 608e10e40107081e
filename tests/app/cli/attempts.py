"""A job in its second attempt."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update

from app.db import transaction
from app.models import Attempt, Job
from tests.app.api import Service


def submit_with_two_attempts(service: Service, spec: dict[str, Any]) -> str:
    """Submits a job whose first attempt was lost at step 7 after one line of output; the second has no output yet."""
    job_id = service.submit(spec)
    common: dict[str, Any] = {"job_id": job_id, "executor": "local", "host": "here", "devices": []}
    with transaction(service.app.state.engine) as session:
        lost: dict[str, Any] = {"outcome": "lost", "reason": "lost", "message": "killed"}
        session.add(Attempt(number=1, resumed_from_step=7, **common, **lost))
        session.add(Attempt(number=2, **common))
        session.execute(update(Job).values(attempt=2))
    log = service.settings.runs_dir / job_id / "attempt-1" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("first\n")
    return job_id
