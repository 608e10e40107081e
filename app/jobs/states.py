"""The states of a job: every move there is, and the one function that makes them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col

from app.db import now, serialize_events


class State(StrEnum):
    """Where a job stands."""

    waiting = "waiting"
    queued = "queued"
    starting = "starting"
    running = "running"
    pausing = "pausing"
    paused = "paused"
    cancelling = "cancelling"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"


_S = State
MOVES: dict[State, tuple[State, ...]] = {
    # For the jobs whose components it names.
    _S.waiting: (_S.queued, _S.failed, _S.cancelled),
    # For a device.
    _S.queued: (_S.starting, _S.failed, _S.cancelled),
    # A worker has claimed it, and Slurm may let it wait; queued again if the start comes to nothing.
    _S.starting: (_S.running, _S.queued, _S.pausing, _S.cancelling, _S.failed, _S.succeeded),
    # Queued again if the process was lost, preempted or its machine failed: the next attempt resumes.
    _S.running: (_S.pausing, _S.cancelling, _S.queued, _S.succeeded, _S.failed),
    _S.pausing: (_S.paused, _S.cancelling, _S.succeeded, _S.failed),
    _S.paused: (_S.queued, _S.cancelled),
    # What really happened counts: it may have ended in the meantime.
    _S.cancelling: (_S.cancelled, _S.succeeded, _S.failed),
    _S.succeeded: (),
    # By a retry.
    _S.failed: (_S.waiting, _S.queued),
    _S.cancelled: (_S.waiting, _S.queued),
}
FINAL = (_S.succeeded, _S.failed, _S.cancelled)


class Reason(StrEnum):
    """Why a job is in its state."""

    dependency_failed = "dependency_failed"
    invalid_component = "invalid_component"
    preempted = "preempted"
    node_failure = "node_failure"
    hardware_fault = "hardware_fault"
    out_of_memory = "out_of_memory"
    time_limit = "time_limit"
    loss_not_finite = "loss_not_finite"
    no_space = "no_space"
    code_error = "code_error"
    lost = "lost"
    user = "user"


def origins(to: State) -> list[State]:
    """The states that a job may come from."""
    return [state for state, targets in MOVES.items() if to in targets]


def move(
    session: Session,
    job_id: str,
    to: State,
    *,
    of_attempt: int | None = None,
    origin: State | None = None,
    reason: Reason | None = None,
    message: str | None = None,
    **values: Any,
) -> bool:
    """Moves a job in one guarded UPDATE and records it; false where the graph, `of_attempt` or `origin` says no.

    `values` are other columns to set in the same statement.
    """
    from app.models import Event, Job

    allowed = [state for state in origins(to) if origin in (None, state)]
    at = now()
    values |= {"state": to.value, "reason": reason, "message": message}
    values["finished_at"] = at if to in FINAL else None
    statement = update(Job).where(col(Job.id) == job_id, col(Job.state).in_(allowed))
    if of_attempt is not None:
        statement = statement.where(col(Job.attempt) == of_attempt)
    # Rows that were read before are not brought up to date: with many of them that would take longer than all else.
    statement = statement.values(**values).execution_options(synchronize_session=False)
    if session.execute(statement).rowcount != 1:  # type: ignore[attr-defined]
        return False
    serialize_events(session)
    data = {"state": to.value, "reason": reason, "message": message}
    session.add(Event(job_id=job_id, time=at, type="state", data=data))
    return True
