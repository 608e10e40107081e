"""Early stopping of sweeps: asynchronous successive halving (ASHA, arXiv:1810.05934), by stopping.

Where the paper promotes the best jobs of a rung to the next one, here every job continues unless it is not among the
best when it reaches a rung. As in the paper, of n jobs that have reached a rung the best floor(n / reduction_factor)
continue; but at least one always does, where the paper waits until there are enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from app.db import now, reading, transaction, try_lock_name
from app.jobs.event_queries import record_events
from app.jobs.transitions import transition
from app.models import Event, Job, Reason, State, Sweep, SweepPoint
from app.results.metrics.directions import Mode
from app.results.metrics.queries import extremes
from app.sweeps import ranking
from app.sweeps.queries import STOPPED_EARLY


class _Due(NamedTuple):
    """A job that has reached a rung for which there is no decision yet."""

    job_id: str
    sweep_id: str
    kind: str
    early_stopping: dict[str, Any]
    rung: int


def apply_early_stopping(engine: Engine) -> list[str]:
    """Decides on jobs that have reached their next rungs, and stops those that are not among the best there.

    There is one decision for each job and rung, recorded as an event `rung`, and none after the one that stops the job.
    Returns the ids of the jobs that are to stop.
    """
    with reading(engine) as session:
        if not _find_due(session):
            return []
    with transaction(engine) as session:
        # Of two workers that get here, one decides; the other would not see its decisions.
        if not try_lock_name(session, "early stopping"):
            return []
        stopped: dict[str, int] = {}
        for due in sorted(_find_due(session), key=lambda due: (due.rung, due.job_id)):
            if due.job_id not in stopped and not _survives_rung(session, due, stopped):
                stopped[due.job_id] = due.rung
        return list(stopped)


def rungs_reached(epochs_done: int, epochs: int, min_epochs: int, reduction_factor: int) -> list[int]:
    """The rungs (in epochs) that a job has reached, lowest first; its last epoch is never one."""
    reached: list[int] = []
    rung = min_epochs
    while rung <= epochs_done and rung < epochs:
        reached.append(rung)
        rung *= reduction_factor
    return reached


# Rungs of running jobs that are known to be decided: a cache of the events.
_decided: dict[str, set[int]] = {}


def _find_due(session: Session) -> list[_Due]:
    columns = (Job.id, Sweep.id, Job.kind, col(Sweep.early_stopping), col(Job.progress))
    query = select(*columns).join(Sweep, col(Sweep.id) == col(Job.sweep))  # type: ignore[call-overload]
    query = query.where(Job.state == State.running, col(Sweep.early_stopping).is_not(None)).order_by(Job.id)
    candidates: list[_Due] = []
    running = set()
    for job_id, sweep_id, kind, settings, progress in session.exec(query):
        running.add(job_id)
        steps = _steps_per_epoch(progress)
        if steps is not None:
            epochs = (progress["step"] // steps, progress["epochs"])
            for rung in rungs_reached(*epochs, settings["min_epochs"], settings["reduction_factor"]):
                if rung not in _decided.get(job_id, ()):
                    candidates.append(_Due(job_id, sweep_id, kind, settings, rung))
    for job_id in _decided.keys() - running:
        del _decided[job_id]
    decisions = select(Event.job_id, Event.data).where(Event.type == "rung")
    decisions = decisions.where(col(Event.job_id).in_({due.job_id for due in candidates}))
    for job_id, data in session.exec(decisions):
        _decided.setdefault(job_id, set()).add(data["rung"])
    return [due for due in candidates if due.rung not in _decided.get(due.job_id, ())]


def _steps_per_epoch(progress: Mapping[str, Any] | None) -> int | None:
    """By a job's latest report; None before it has reported, and for jobs that do not train in epochs."""
    if not progress or not progress.get("steps") or not progress.get("epochs") or progress.get("step") is None:
        return None
    return int(progress["steps"]) // int(progress["epochs"]) or None


def _survives_rung(session: Session, due: _Due, stopped: Mapping[str, int]) -> bool:
    """Compares a job with all jobs of its sweep that have reached its rung, whether or not they are still running.

    `stopped` are the rungs of those that this transaction has stopped.
    """
    settings = due.early_stopping
    metric, mode = ranking.choose(due.kind, settings["metric"], settings["mode"], part="val")
    values = _values_at(session, due.sweep_id, due.rung, metric, mode, stopped)
    if due.job_id not in values:
        return True
    value = values[due.job_id]
    num_kept = max(1, len(values) // settings["reduction_factor"])
    kept = sum(_is_better(other, value, mode) for other in values.values()) < num_kept
    data = {"rung": due.rung, "metric": metric, "value": value, "kept": kept, "best": num_kept, "of": len(values)}
    record_events(session, [{"job_id": due.job_id, "time": now(), "type": "rung", "data": data}])
    if kept:
        return True
    shown = "is not a finite number" if value is None else f"of {value:.4g}"
    message = (
        f"{STOPPED_EARLY}its {metric} {shown} after {due.rung} {'epoch' if due.rung == 1 else 'epochs'} "
        f"is not among the best {num_kept} of {len(values)}"
    )
    stopping = transition(
        session, due.job_id, State.cancelling, from_state=State.running, reason=Reason.user, message=message
    )
    return not stopping


def _values_at(
    session: Session, sweep_id: str, rung: int, metric: str, mode: Mode, stopped: Mapping[str, int]
) -> dict[str, float | None]:
    """The best value up to a rung of every job of a sweep that has reached it; None if it is not finite.

    A job that was stopped at a lower rung has not reached this one, however far it went before it stopped.
    """
    points = select(SweepPoint.job_id).where(SweepPoint.sweep_id == sweep_id)
    decisions = select(Event.job_id, Event.data).join(Job, col(Job.id) == col(Event.job_id))
    decisions = decisions.where(Event.type == "rung", col(Event.job_id).in_(points))
    decisions = decisions.where(col(Job.state).in_((State.cancelling, State.cancelled)))
    below = {job_id for job_id, data in session.exec(decisions) if data["rung"] < rung and not data["kept"]}
    below |= {job_id for job_id, other in stopped.items() if other < rung}
    last_step: dict[str, int] = {}
    for job_id, progress in session.exec(select(Job.id, Job.progress).where(col(Job.id).in_(points))):
        steps = _steps_per_epoch(progress)
        if progress and steps is not None and progress["step"] >= rung * steps and job_id not in below:
            last_step[job_id] = rung * steps
    by_job = extremes(session, metric, last_step)
    return {job_id: high if mode == "max" else low for job_id, (low, high) in by_job.items()}


def _is_better(one: float | None, other: float | None, mode: Mode) -> bool:
    """Whether a value is better than another; one that is not finite is the worst."""
    sign = 1.0 if mode == "max" else -1.0
    return (-math.inf if one is None else sign * one) > (-math.inf if other is None else sign * other)
