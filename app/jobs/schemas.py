"""Jobs, events and attempts as the API shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from app.db import iso, now
from app.models import Event, Job, State
from core.spec.outline import Outline
from core.spec.resources import Resources

Kind = Literal["expert", "fusion", "head", "evaluate"]
EventType = Literal["state", "progress", "metrics", "component", "log", "alert", "rung"]
# A stored time becomes ISO 8601 text in UTC.
Time = Annotated[str, BeforeValidator(lambda value: iso(value) if isinstance(value, datetime) else value)]


class Progress(BaseModel):
    """How far a job is. `fraction` is the share of its steps; values that are not known yet are null."""

    state: State
    epoch: int | None
    epochs: int | None
    step: int | None
    steps: int | None
    fraction: float = Field(ge=0.0, le=1.0)
    images_per_s: float | None
    eta_s: float | None


class JobSummary(BaseModel):
    """A job without its specification.

    `metrics` has the latest values, `score` is the best validation accuracy, `sweep` the sweep that created the job.
    """

    id: str
    kind: Kind
    name: str
    tags: list[str]
    state: State
    reason: str | None
    message: str | None
    attempt: int
    priority: int
    owner: str
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    progress: Progress
    score: float | None
    metrics: dict[str, float | None]
    waits_for: list[str]
    sweep: str | None
    links: dict[str, str]


class JobView(JobSummary):
    """A job. `spec` is resolved; `defaulted` lists its fields that were not given."""

    spec: dict[str, Any]
    defaulted: list[str]
    plan: dict[str, Any] | None


class Related(NamedTuple):
    """The fields of a job that other tables hold."""

    tags: list[str]
    waits_for: list[str]
    metrics: dict[str, float | None]


class JobPage(BaseModel):
    """A page of jobs."""

    items: list[JobView]
    next_cursor: str | None


class Estimate(BaseModel):
    """The cost of new jobs: `gpu_hours` extrapolated from `based_on` similar jobs, null if there are none."""

    gpu_hours: float | None
    based_on: int
    why: str


class PlannedControl(BaseModel):
    """A control that would be trained or, if an equal job exists, reused; without one, `absent` says why."""

    role: str
    name: str | None
    absent: str | None


class DryRun(BaseModel):
    """A job as it would be stored: validated and resolved, with an outline of its plan and an estimate of its cost.

    `controls` are the jobs beside it. The estimate includes all of them, even those that exist and cost nothing.
    """

    kind: Kind
    name: str
    spec: dict[str, Any]
    defaulted: list[str]
    waits_for: list[str]
    outline: Outline
    estimate: Estimate
    controls: list[PlannedControl]


class Change(BaseModel):
    """New values for some of a job's `resources`; fields that are not given keep their values."""

    model_config = ConfigDict(extra="forbid", strict=True)
    resources: Resources = Resources()

    def changed_resources(self) -> dict[str, Any]:
        """The fields that were given, as plain JSON data."""
        return self.resources.model_dump(mode="json", exclude_unset=True)


class AlertData(TypedDict):
    """The data of an event of type `alert`, which training raised. Alerts with the same `key` are the same alert.

    `subject` is what it is about, such as `expert_1`, and `step` when it was noticed; null where there is none.
    """

    level: Literal["warning", "error"]
    code: str
    title: str
    message: str
    subject: str | None
    step: int | None
    key: str


class EventView(TypedDict):
    """An event of a job. That of type `alert` has `AlertData`."""

    id: int
    time: str
    type: str
    data: AlertData | dict[str, Any]


class EventPage(BaseModel):
    """A page of events."""

    items: list[EventView]
    next_cursor: str | None


class AttemptView(BaseModel):
    """One run of a job on one executor.

    `changed_environment` says from which step on other code, libraries or another device computed it than the attempt
    before; null if they were the same.
    """

    model_config = ConfigDict(from_attributes=True)
    number: int
    executor: str
    host: str
    devices: list[str]
    started_at: Time
    ended_at: Time | None
    outcome: str | None
    reason: str | None
    message: str | None
    resumed_from_step: int | None
    changed_environment: str | None
    slurm_job_id: str | None


class AttemptPage(BaseModel):
    """The attempts of a job."""

    items: list[AttemptView]
    next_cursor: str | None = None


class Freed(BaseModel):
    """The result of a deletion."""

    id: str
    bytes_freed: int


def job_view(job: Job, related: Related) -> JobView:
    """A job's row, with what other tables hold about it."""
    return JobView(**summary_fields(job, related), spec=job.spec, defaulted=job.defaulted, plan=job.plan)


def summary_view(job: Job, related: Related) -> JobSummary:
    """The same without `spec`, `defaulted` and `plan`, which are not read."""
    return JobSummary(**summary_fields(job, related))


def summary_fields(row: Any, related: Related, names: Iterable[str] = JobSummary.model_fields) -> dict[str, Any]:
    """Some fields of a summary, from a row that has the columns of `columns_of` and perhaps more."""
    values: dict[str, Any] = {}
    for name in names:
        if name in Related._fields:
            values[name] = getattr(related, name)
        elif name in _COMPUTED:
            values[name] = _COMPUTED[name].compute(row)
        else:
            values[name] = getattr(row, name)
    return values


def columns_of(names: Iterable[str]) -> list[str]:
    """The columns of jobs that some fields of a summary are made from, and the id."""
    columns = {"id": None}
    for name in names:
        if name in _COMPUTED:
            columns |= dict.fromkeys(_COMPUTED[name].columns)
        elif name not in Related._fields:
            columns[name] = None
    return list(columns)


def progress_of(job: Any) -> Progress:
    """The progress that a job last reported, with the remaining time counted down since then."""
    report = job.progress or {}
    step, steps = report.get("step"), report.get("steps")
    fraction = 1.0 if job.state == State.succeeded else min(1.0, step / steps) if step and steps else 0.0
    eta_s = report.get("eta_s") if job.state == State.running else None
    if eta_s is not None and "at" in report:
        eta_s = max(0.0, eta_s - (now() - datetime.fromisoformat(report["at"])).total_seconds())
    return Progress(
        state=State(job.state),
        epoch=report.get("epoch"),
        epochs=report.get("epochs"),
        step=step,
        steps=steps,
        fraction=fraction,
        images_per_s=report.get("images_per_s"),
        eta_s=eta_s,
    )


_PAGES = ("progress", "metrics", "events", "logs", "attempts", "components", "explain", "ledger", "result")


def _links(job: Any) -> dict[str, str]:
    base = f"/jobs/{job.id}"
    return {"self": base} | {page: f"{base}/{page}" for page in _PAGES}


class _Computed(NamedTuple):
    """A field that is not a column, and the columns that it is computed from."""

    columns: tuple[str, ...]
    compute: Callable[[Any], Any]


def _time(column: str) -> _Computed:
    read = attrgetter(column)
    return _Computed((column,), lambda job: iso(read(job)))


_COMPUTED = {
    "created_at": _time("created_at"),
    "started_at": _time("started_at"),
    "finished_at": _time("finished_at"),
    "progress": _Computed(("state", "progress"), progress_of),
    "links": _Computed(("id",), _links),
}


def event_view(event: Event) -> EventView:
    """An event as the API shows it."""
    return {"id": event.id or 0, "time": iso(event.time) or "", "type": event.type, "data": event.data}
