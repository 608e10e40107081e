"""Sweeps while they train: how many of their jobs may run at once, and which lag too far behind to go on.

Early stopping is successive halving, asynchronously (ASHA, arXiv:1810.05934), by stopping: where the paper promotes the
best of a rung to the next, here all go on but those that are not among the best when they come to a rung. As there, of
n jobs that have come to a rung the best floor(n / reduction_factor) go on; but one always does, where the paper waits
until there are enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Engine, func
from sqlmodel import Session, col, select

from app.db import reading, serialize_events, transaction
from app.jobs.transitions import transition
from app.metrics import store
from app.metrics.directions import Mode
from app.models import Event, Job, Reason, State, Sweep, SweepPoint
from app.sweeps import ranking
from app.sweeps.queries import STOPPED_EARLY

ACTIVE = (State.starting, State.running, State.pausing, State.cancelling)


def sweeps_at_limit(session: Session) -> set[str]:
    """Sweeps of which as many jobs run as may at once. Jobs that they found and did not make do not count."""
    running = select(Sweep.id).join(Job, col(Job.sweep) == col(Sweep.id))
    running = running.where(col(Job.state).in_(ACTIVE), col(Sweep.max_parallel).is_not(None))
    at_most = running.group_by(Sweep.id, col(Sweep.max_parallel)).having(func.count() >= col(Sweep.max_parallel))
    return set(session.exec(at_most))


class _Due(NamedTuple):
    """A job that has come to a rung at which it was not judged yet."""

    job_id: str
    sweep_id: str
    kind: str
    early_stopping: dict[str, Any]
    rung: int


def apply_early_stopping(engine: Engine) -> list[str]:
    """Judges jobs that have come to their next rungs, and has those stopped that are not among the best of one.

    A job is judged once at each rung that it comes to, and at no other once it is to stop; an event `rung` says how.
    Gives the ids of the jobs that are to stop.
    """
    with reading(engine) as session:
        if not _due(session):
            return []
    with transaction(engine) as session:
        # Of two workers that come here the second finds what the first has judged.
        serialize_events(session)
        stopped: list[str] = []
        for due in sorted(_due(session), key=lambda due: (due.rung, due.job_id)):
            if due.job_id not in stopped and not _survives_rung(session, due):
                stopped.append(due.job_id)
        return stopped


def rungs_of(epochs_done: int, epochs: int, min_epochs: int, reduction_factor: int) -> list[int]:
    """The rungs (in epochs) that a job has come to, the lowest first; there is none at its very end."""
    reached: list[int] = []
    rung = min_epochs
    while rung <= epochs_done and rung < epochs:
        reached.append(rung)
        rung *= reduction_factor
    return reached


# Judged, as far as this process knows: it spares asking again. The events are what counts.
_judged: set[tuple[str, int]] = set()


def _due(session: Session) -> list[_Due]:
    columns = (Job.id, Sweep.id, Job.kind, col(Sweep.early_stopping), col(Job.progress))
    query = select(*columns).join(Sweep, col(Sweep.id) == col(Job.sweep))  # type: ignore[call-overload]
    query = query.where(Job.state == State.running, col(Sweep.early_stopping).is_not(None)).order_by(Job.id)
    found: list[_Due] = []
    for job_id, sweep_id, kind, asked, progress in session.exec(query):
        steps = _steps_per_epoch(progress)
        if steps is not None:
            epochs = (progress["step"] // steps, progress["epochs"])
            for rung in rungs_of(*epochs, asked["min_epochs"], asked["reduction_factor"]):
                if (job_id, rung) not in _judged:
                    found.append(_Due(job_id, sweep_id, kind, asked, rung))
    told = select(Event.job_id, Event.data).where(Event.type == "rung")
    told = told.where(col(Event.job_id).in_([due.job_id for due in found]))
    _judged.update((job_id, data["rung"]) for job_id, data in session.exec(told))
    return [due for due in found if (due.job_id, due.rung) not in _judged]


def _steps_per_epoch(progress: Mapping[str, Any] | None) -> int | None:
    """By a job's last report; None before it has reported, and for what does not train by epochs."""
    if not progress or not progress.get("steps") or not progress.get("epochs") or progress.get("step") is None:
        return None
    return int(progress["steps"]) // int(progress["epochs"]) or None


def _survives_rung(session: Session, due: _Due) -> bool:
    """Judges a job at its rung against all of its sweep that have come there, whatever became of them."""
    asked = due.early_stopping
    metric, mode = ranking.choose(due.kind, asked["metric"], asked["mode"], part="val")
    values = _values(session, due.sweep_id, due.rung, metric, mode)
    if due.job_id not in values:
        return True
    value = values[due.job_id]
    best = max(1, len(values) // asked["reduction_factor"])
    kept = sum(_better(other, value, mode) for other in values.values()) < best
    data = {"rung": due.rung, "metric": metric, "value": value, "kept": kept, "best": best, "of": len(values)}
    session.add(Event(job_id=due.job_id, type="rung", data=data))
    if kept:
        return True
    shown = "is not a finite number" if value is None else f"of {value:.4g}"
    message = (
        f"{STOPPED_EARLY}its {metric} {shown} after {due.rung} {'epoch' if due.rung == 1 else 'epochs'} "
        f"is not among the best {best} of {len(values)}"
    )
    return not transition(
        session, due.job_id, State.cancelling, from_state=State.running, reason=Reason.user, message=message
    )


def _values(session: Session, sweep_id: str, rung: int, metric: str, mode: Mode) -> dict[str, float | None]:
    """The best value up to a rung of every job of a sweep that has come there; None where it is not finite.

    One that was stopped at a lower rung has not come there, however far it went until it heard of it.
    """
    points = select(SweepPoint.job_id).where(SweepPoint.sweep_id == sweep_id)
    stopped = select(Event.job_id, Event.data).join(Job, col(Job.id) == col(Event.job_id))
    stopped = stopped.where(Event.type == "rung", col(Event.job_id).in_(points))
    stopped = stopped.where(col(Job.state).in_((State.cancelling, State.cancelled)))
    below = {job_id for job_id, data in session.exec(stopped) if data["rung"] < rung and not data["kept"]}
    until: dict[str, int] = {}
    for job_id, progress in session.exec(select(Job.id, Job.progress).where(col(Job.id).in_(points))):
        steps = _steps_per_epoch(progress)
        if progress and steps is not None and progress["step"] >= rung * steps and job_id not in below:
            until[job_id] = rung * steps
    found = store.extremes(session, metric, until)
    return {job_id: high if mode == "max" else low for job_id, (low, high) in found.items()}


def _better(one: float | None, other: float | None, mode: Mode) -> bool:
    """Whether a value is better than another; what is not finite is worst."""
    sign = 1.0 if mode == "max" else -1.0
    return (-math.inf if one is None else sign * one) > (-math.inf if other is None else sign * other)
