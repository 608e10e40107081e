"""The states of a job: every move there is, and the one function that makes them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col

from app.db import now, serialize_events
from app.models import TERMINAL_STATES, Event, Job, Reason, State

_S = State
TRANSITIONS: dict[State, tuple[State, ...]] = {
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


def sources_of(to: State) -> list[State]:
    """The states that a job may come from."""
    return [state for state, targets in TRANSITIONS.items() if to in targets]


def transition(
    session: Session,
    job_id: str,
    to: State,
    *,
    expected_attempt: int | None = None,
    from_state: State | None = None,
    reason: Reason | None = None,
    message: str | None = None,
    **values: Any,
) -> bool:
    """Moves a job to another state in one guarded UPDATE and records an event; returns whether the job was moved.

    It is not where `TRANSITIONS`, `expected_attempt` or `from_state` forbids it.

    `values` are other columns to set in the same statement.
    """
    allowed = [state for state in sources_of(to) if from_state in (None, state)]
    at = now()
    values |= {"state": to.value, "reason": reason, "message": message}
    values["finished_at"] = at if to in TERMINAL_STATES else None
    statement = update(Job).where(col(Job.id) == job_id, col(Job.state).in_(allowed))
    if expected_attempt is not None:
        statement = statement.where(col(Job.attempt) == expected_attempt)
    # Rows that were read before are not brought up to date: with many of them that would take longer than all else.
    statement = statement.values(**values).execution_options(synchronize_session=False)
    if session.execute(statement).rowcount != 1:  # type: ignore[attr-defined]
        return False
    serialize_events(session)
    data = {"state": to.value, "reason": reason, "message": message}
    session.add(Event(job_id=job_id, time=at, type="state", data=data))
    return True
