"""Explanations as tests read them, and the jobs and workers that they are about."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import update

from app.db import now, transaction
from app.models import Job, Lease, State, Worker
from tests.app.api import EXPERT, FUSION, Service


def explain(service: Service, job_id: str) -> dict[str, Any]:
    answer = service.get(f"/jobs/{job_id}/explain")
    assert answer.status_code == 200, answer.text
    shown = dict(answer.json())
    for sentence in (shown["sentence"], *shown["evidence"]):
        # A sentence that begins with the name of a job, a field or a data set keeps it as it is.
        assert not sentence[0].islower() or sentence.startswith(("one (job_", "npz:", "fusion.heads:")), sentence
        assert sentence.endswith("."), sentence
    return shown


def set_job(service: Service, job_id: str, **columns: Any) -> None:
    with transaction(service.app.state.engine) as session:
        session.execute(update(Job).where(Job.id == job_id).values(**columns))  # type: ignore[arg-type]


def add(service: Service, *rows: Any) -> None:
    with transaction(service.app.state.engine) as session:
        session.add_all(rows)


def worker(host: str = "here", age_s: float = 0.0, **columns: Any) -> Worker:
    known: dict[str, Any] = {"devices": ["cpu"], "cpus": 4, "memory_gb": 8.0} | columns
    return Worker(host=host, seen_at=now() - timedelta(seconds=age_s), **known)


def progress(eta_s: float, step: int = 71) -> dict[str, Any]:
    at = now().isoformat()
    return {"epoch": 3, "epochs": 10, "step": step, "steps": 100, "images_per_s": 1.0, "eta_s": eta_s, "at": at}


def running(service: Service, name: str, eta_s: float, device: str | None = None) -> str:
    job_id = service.submit(EXPERT | {"name": name})
    service.transition(job_id, State.starting, State.running)
    set_job(service, job_id, progress=progress(eta_s), attempt=1)
    if device:
        add(service, Lease(host="here", device=device, job_id=job_id, attempt=1))
    return job_id


def waiting(service: Service) -> tuple[str, str]:
    first = service.submit()
    return first, service.submit(FUSION | {"experts": [{"from": {"job": first, "component": "expert_0"}}]})
