"""Ended jobs with files, and policies, for tests of retention."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import update

from app.db import database_time, transaction
from app.models import Job, Retention, State
from tests.app.api import EXPERT, Service
from tests.app.operations.backup.services import give_files

RULE: dict[str, Any] = {
    "name": "old",
    "states": ["succeeded", "failed", "cancelled"],
    "older_than_days": 30,
    "delete": "job",
}


def ended(
    service: Service, state: State = State.succeeded, *, days: float = 40, tags: list[str] | None = None, **spec: Any
) -> str:
    """A job with files that ended so many days ago."""
    job_id = service.submit(EXPERT | {"tags": tags or []} | spec)
    end(service, job_id, state, days=days)
    return job_id


def end(service: Service, job_id: str, state: State = State.succeeded, *, days: float = 40) -> None:
    give_files(service, job_id)
    service.transition(job_id, State.starting, State.running, attempt=1)
    service.transition(job_id, *((State.cancelling, state) if state is State.cancelled else (state,)))
    set_age(service, job_id, days)


def set_age(service: Service, job_id: str, days: float) -> None:
    with transaction(service.app.state.engine) as session:
        at = database_time(session) - timedelta(days=days)
        session.execute(update(Job).where(Job.id == job_id).values(finished_at=at))  # type: ignore[arg-type]


def put(service: Service, *rules: dict[str, Any], **policy: Any) -> dict[str, Any]:
    """Sets a policy whose rules are `RULE` with changes."""
    body = {"rules": [RULE | {"name": f"rule {number}"} | rule for number, rule in enumerate(rules)], **policy}
    answer = service.call("PUT", "/retention", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def run(service: Service, *, dry_run: bool = False) -> dict[str, Any]:
    answer = service.post(f"/retention/run?dry_run={str(dry_run).lower()}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def would_delete(service: Service, *rules: dict[str, Any], **policy: Any) -> set[str]:
    """The jobs that a dry run names for a policy."""
    put(service, *rules, **policy)
    return {item["job"] for item in run(service, dry_run=True)["items"]}


def existing(service: Service) -> set[str]:
    return {job["id"] for job in service.get("/jobs?limit=200").json()["items"]}


def make_due(service: Service, *, for_s: float = 1.0) -> None:
    """Lets time pass until the next run has been due for so many seconds."""
    with transaction(service.app.state.engine) as session:
        session.get_one(Retention, 1).next_run_at = database_time(session) - timedelta(seconds=for_s)
