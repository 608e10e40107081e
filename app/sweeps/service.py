"""What can be done to sweeps. Nothing here commits: the session's owner does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy import insert, update
from sqlmodel import Session, SQLModel, col, select
from ulid import ULID

from app.auth.principals import Principal, require_owner
from app.http import idempotency
from app.http.errors import Invalid
from app.jobs import service as jobs
from app.jobs.dispatch import nudge
from app.jobs.transitions import TRANSITIONS, transition
from app.models import TERMINAL_STATES, Job, Reason, State, Sweep, SweepPoint
from app.settings import Settings
from app.sweeps import grid, queries
from app.sweeps.estimate import estimate
from app.sweeps.placement import Planned, place, plan, store_jobs
from app.sweeps.schemas import DURING, NewSweep
from core.spec.fields import in_words
from core.spec.load import MAX_DEPTH

_POINTS = insert(SQLModel.metadata.tables["sweep_points"])


def read(data: object) -> NewSweep:
    """A sweep from a request's body; raises Invalid."""
    try:
        # What the grid replaces in the base is in no specification, but it is stored and shown.
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
        if _is_deep(data):
            raise ValueError
        asked = NewSweep.model_validate(data)
    except ValidationError as error:
        raise Invalid.of([_told(entry) for entry in error.errors(include_url=False)][:20]) from None
    except (ValueError, RecursionError):
        msg = f"the body has a number or a character that JSON cannot carry, or is nested over {MAX_DEPTH} levels deep"
        raise Invalid(msg) from None
    grid.check(asked.grid)
    if asked.early_stopping:
        _check_stopping(asked.base.get("kind"), asked.early_stopping.metric)
    tags = asked.base.get("tags", [])
    if asked.tags and isinstance(tags, list):
        asked.base["tags"] = [*tags, *(tag for tag in asked.tags if tag not in tags)]
    return asked


def _is_deep(data: object) -> bool:
    level = [data]
    for _ in range(MAX_DEPTH):
        inner = [
            value.values() if isinstance(value, dict) else value for value in level if isinstance(value, dict | list)
        ]
        level = [value for values in inner for value in values]
    return bool(level)


def _told(entry: Mapping[str, Any]) -> dict[str, Any]:
    if "[key]" in entry["loc"]:
        return {"loc": ["grid"], "msg": "its keys are paths of a specification, such as fusion.type or experts.0.arch"}
    return {
        "loc": list(entry["loc"]),
        "msg": in_words(
            entry,
            {DURING: "must be measured during training: val/accuracy_fused, val/loss_global, train/loss_total, .."},
        ),
    }


def _check_stopping(kind: object, metric: str | None) -> None:
    wrong = None
    if kind == "evaluate":
        wrong = "evaluate jobs train nothing that could be stopped: leave it out"
    elif kind == "expert" and metric is not None and metric.endswith(("fused", "ensemble")):
        wrong = "an expert alone has no such metric: take val/accuracy_expert_0, or leave it out"
    if wrong is not None:
        loc = ["early_stopping"] if kind == "evaluate" else ["early_stopping", "metric"]
        raise Invalid.of([{"loc": loc, "msg": wrong}])


def preview(session: Session, asked: NewSweep, planned: list[Planned]) -> dict[str, Any]:
    """What a sweep would be."""
    placed = place(session, asked.grid, planned, fresh=asked.fresh)
    new = [point.planned.columns["spec"] for point in placed if not point.reused]
    made = {point.job_id for point in placed if not point.reused}
    points = [
        {
            "number": number,
            "values": point.planned.given,
            "name": point.planned.spec.name,
            "job": None if point.job_id in made else point.job_id,
            "reused": point.reused,
        }
        for number, point in enumerate(placed)
    ]
    return {
        "count": len(placed),
        "new": len(new),
        "reused": len(placed) - len(new),
        "points": points,
        "specs": [point.planned.columns["spec"] for point in placed],
        "estimate": estimate(session, new),
    }


def create(
    session: Session,
    settings: Settings,
    asks: Principal,
    asked: NewSweep,
    planned: list[Planned],
    *,
    key: str | None = None,
    body: bytes = b"",
) -> tuple[Sweep, bool]:
    """Stores a sweep and its jobs, or finds the one that the same idempotency key and body made before.

    Gives it and whether it is new.
    """
    before = idempotency.find_created(session, Sweep, asks.owner, key, body)
    if before is not None:
        return before, False
    sweep = Sweep(
        id=f"swp_{ULID()}",
        owner=asks.owner,
        **asked.model_dump(include={"name", "base", "grid", "max_parallel", "early_stopping"}),
        **idempotency.columns(key, body),
    )
    session.add(sweep)
    session.flush()
    placed = place(session, asked.grid, planned, fresh=asked.fresh)
    store_jobs(session, settings, sweep, placed)
    rows = [
        {"sweep_id": sweep.id, "number": number, "job_id": point.job_id, "given": point.planned.given}
        | {"reused": point.reused}
        for number, point in enumerate(placed)
    ]
    session.connection().execute(_POINTS, rows)
    return sweep, True


def cancel(session: Session, settings: Settings, asks: Principal, sweep_id: str) -> Sweep:
    """Ends every job that the sweep made; what was there before it stays as it is."""
    sweep = _owned(session, asks, sweep_id)
    query = select(Job.id, Job.state).where(
        Job.sweep == sweep_id, col(Job.state).not_in((*TERMINAL_STATES, State.cancelling))
    )
    for job_id, state in session.exec(query.order_by(Job.id).with_for_update()).all():
        before = State(state)
        to = State.cancelled if State.cancelled in TRANSITIONS[before] else State.cancelling
        transition(session, job_id, to, from_state=before, reason=Reason.user)
    nudge(session, settings, "monitor")
    return sweep


def retry(session: Session, settings: Settings, asks: Principal, sweep_id: str) -> Sweep:
    """Queues again what failed or was cancelled, unless it was stopped early, and makes anew what is missing.

    A job that the sweep found is not its own to queue again: a point of such a one gets another, new if need be.
    """
    sweep = _owned(session, asks, sweep_id)
    anew: dict[int, grid.Given] = {}
    again: dict[str, Job] = {}
    query = (
        select(SweepPoint, Job)
        .outerjoin(Job, col(Job.id) == col(SweepPoint.job_id))
        .where(SweepPoint.sweep_id == sweep_id)
    )
    bad = col(Job.state).in_((State.failed, State.cancelled)) | col(Job.id).is_(None)
    for point, job in session.exec(query.where(bad).order_by(col(SweepPoint.number))).all():
        if job is None or job.sweep != sweep_id:
            anew[point.number] = point.given
        elif not queries.stopped_early(job.state, job.message):
            again[job.id] = job
    for job in again.values():
        jobs.queue_again(session, job)
    planned = plan(settings, sweep.name, sweep.base, sweep.grid, list(anew.values()))
    placed = place(session, sweep.grid, planned, fresh=False)
    store_jobs(session, settings, sweep, placed)
    for number, made in zip(anew, placed, strict=True):
        its = (col(SweepPoint.sweep_id) == sweep_id, col(SweepPoint.number) == number)
        session.execute(update(SweepPoint).where(*its).values(job_id=made.job_id, reused=made.reused))
    return sweep


def _owned(session: Session, asks: Principal, sweep_id: str) -> Sweep:
    """A sweep that nobody else changes meanwhile; raises NotFound or Forbidden."""
    sweep = queries.get_sweep(session, sweep_id, lock=True)
    require_owner(asks, sweep.owner)
    return sweep
