"""A job as clients see it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.db import iso, now
from app.models import Attempt, Event, Job, State

StateName = Literal[
    "waiting", "queued", "starting", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"
]


class Progress(BaseModel):
    """How far a job is. `fraction` is of its steps; what is not known yet is null."""

    state: StateName
    epoch: int | None
    epochs: int | None
    step: int | None
    steps: int | None
    fraction: float = Field(ge=0.0, le=1.0)
    images_per_s: float | None
    eta_s: float | None


class JobView(BaseModel):
    """A job. `spec` is as resolved, `defaulted` the paths of it that were not given, `metrics` the latest values."""

    id: str
    kind: Literal["expert", "fusion", "head", "evaluate"]
    name: str
    tags: list[str]
    state: StateName
    reason: str | None
    message: str | None
    attempt: int
    priority: int
    owner: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    spec: dict[str, Any]
    defaulted: list[str]
    plan: dict[str, Any] | None
    progress: Progress
    metrics: dict[str, float | None]
    waits_for: list[str]
    links: dict[str, str]


class JobPage(BaseModel):
    """A page of jobs."""

    items: list[JobView]
    next_cursor: str | None


class DryRun(BaseModel):
    """What a job would be: checked and resolved, nothing stored."""

    kind: str
    name: str
    spec: dict[str, Any]
    defaulted: list[str]
    waits_for: list[str]


class Change(BaseModel):
    """What may be changed of a job that does not train: fields of its `resources`; what is not given stays."""

    model_config = ConfigDict(extra="forbid", strict=True)
    resources: dict[str, Any] = Field(default_factory=dict)


class EventView(BaseModel):
    """Something that happened to a job."""

    id: int
    time: str
    type: str
    data: dict[str, Any]


class EventPage(BaseModel):
    """A page of events."""

    items: list[EventView]
    next_cursor: str | None


class AttemptView(BaseModel):
    """One start of a job."""

    number: int
    executor: str
    host: str
    devices: list[str]
    started_at: str
    ended_at: str | None
    outcome: str | None
    reason: str | None
    message: str | None
    resumed_from_step: int | None
    slurm_job_id: str | None


class AttemptPage(BaseModel):
    """The attempts of a job."""

    items: list[AttemptView]
    next_cursor: str | None = None


class Freed(BaseModel):
    """What a deletion freed."""

    id: str
    bytes_freed: int


def view(job: Job, tags: list[str], needs: list[str], metrics: dict[str, float | None]) -> dict[str, Any]:
    """A row and what belongs to it as a client sees it."""
    base = f"/jobs/{job.id}"
    return {
        "id": job.id,
        "kind": job.kind,
        "name": job.name,
        "tags": tags,
        "state": job.state,
        "reason": job.reason,
        "message": job.message,
        "attempt": job.attempt,
        "priority": job.priority,
        "owner": job.owner,
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "finished_at": iso(job.finished_at),
        "spec": job.spec,
        "defaulted": job.defaulted,
        "plan": job.plan,
        "progress": progress(job),
        "metrics": metrics,
        "waits_for": needs,
        "links": {"self": base}
        | {name: f"{base}/{name}" for name in ("progress", "metrics", "events", "logs", "attempts", "components")},
    }


def progress(job: Job) -> dict[str, Any]:
    """How far a job is, by its last report."""
    said = job.progress or {}
    step, steps = said.get("step"), said.get("steps")
    fraction = 1.0 if job.state == State.succeeded else min(1.0, step / steps) if step and steps else 0.0
    eta_s = said.get("eta_s") if job.state == State.running else None
    if eta_s is not None and "at" in said:
        eta_s = max(0.0, eta_s - (now() - datetime.fromisoformat(said["at"])).total_seconds())
    return {
        "state": job.state,
        "epoch": said.get("epoch"),
        "epochs": said.get("epochs"),
        "step": step,
        "steps": steps,
        "fraction": fraction,
        "images_per_s": said.get("images_per_s"),
        "eta_s": eta_s,
    }


def event_view(event: Event) -> dict[str, Any]:
    """An event as a client sees it."""
    return {"id": event.id, "time": iso(event.time), "type": event.type, "data": event.data}


def attempt_view(attempt: Attempt) -> dict[str, Any]:
    """An attempt as a client sees it."""
    shown = {name: getattr(attempt, name) for name in AttemptView.model_fields}
    return shown | {"started_at": iso(attempt.started_at), "ended_at": iso(attempt.ended_at)}
