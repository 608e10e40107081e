"""The state machine of a job: every transition with its cause, and the one function that performs them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col

from app.db import now
from app.jobs.event_queries import record_events
from app.models import TERMINAL_STATES, Job, Reason, State

_S = State
# The diagram and the table in docs/architecture.md are generated from this table.
EDGES: dict[tuple[State, State], str] = {
    (_S.waiting, _S.queued): "All jobs that it depends on have succeeded.",
    (_S.waiting, _S.failed): "A job that it depends on failed or was cancelled (`dependency_failed`).",
    (_S.waiting, _S.cancelled): "A user cancelled it.",
    (_S.queued, _S.starting): "A worker claimed it and created an attempt.",
    (_S.queued, _S.failed): "No machine of the service is large enough for its resources.",
    (_S.queued, _S.cancelled): "A user cancelled it.",
    (_S.starting, _S.running): "The training process reported that it is about to do its first step.",
    (_S.starting, _S.queued): "The attempt was lost or preempted before its first step; another one will start.",
    (_S.starting, _S.pausing): "A user paused it; the worker stops the process or removes it from Slurm's queue.",
    (_S.starting, _S.cancelling): "A user cancelled it; the worker stops the process or removes it from Slurm's queue.",
    (_S.starting, _S.failed): "The attempt failed before its first step, for example on an invalid component.",
    (_S.starting, _S.succeeded): "The attempt ended so quickly that its first report and its result arrived together.",
    (_S.running, _S.pausing): "A user paused it; the process is writing a checkpoint.",
    (_S.running, _S.cancelling): "A user cancelled it, or early stopping ended it; the process is being stopped.",
    (_S.running, _S.queued): "The process was preempted, timed out, hung, was lost or its node failed; it resumes.",
    (_S.running, _S.succeeded): "Training finished and the result was written.",
    (_S.running, _S.failed): "Training failed in a way that a new attempt would repeat, or no attempts are left.",
    (_S.pausing, _S.paused): "The process wrote its checkpoint and ended.",
    (_S.pausing, _S.cancelling): "A user cancelled it before the pause was complete.",
    (_S.pausing, _S.succeeded): "Training finished before the process could pause.",
    (_S.pausing, _S.failed): "Training failed before the process could pause.",
    (_S.paused, _S.queued): "A user resumed it; a new attempt continues from the checkpoint.",
    (_S.paused, _S.cancelled): "A user cancelled it.",
    (_S.cancelling, _S.cancelled): "The process has ended.",
    (_S.cancelling, _S.succeeded): "Training finished before the process could be stopped.",
    (_S.cancelling, _S.failed): "Training failed before the process could be stopped.",
    (_S.failed, _S.waiting): "A user retried it while a job that it depends on has yet to succeed.",
    (_S.failed, _S.queued): "A user retried it; a new attempt resumes from the latest checkpoint, if there is one.",
    (_S.cancelled, _S.waiting): "A user retried it while a job that it depends on has yet to succeed.",
    (_S.cancelled, _S.queued): "A user retried it; a new attempt resumes from the latest checkpoint, if there is one.",
}
TRANSITIONS: dict[State, tuple[State, ...]] = {
    state: tuple(target for source, target in EDGES if source is state) for state in State
}


def sources_of(to: State) -> list[State]:
    """The states from which a job can move to this one."""
    return [source for source, target in EDGES if target is to]


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
    """Moves a job to a state with one guarded UPDATE and records a `state` event.

    Returns False and changes nothing if `EDGES` has no such transition from the job's present state, if the state is
    not `from_state`, or if the job's attempt is not `expected_attempt`. `values` are further columns of the job to set
    in the same statement.
    """
    allowed = [state for state in sources_of(to) if from_state in (None, state)]
    at = now()
    values |= {"state": to.value, "state_since": at, "reason": reason, "message": message}
    values["finished_at"] = at if to in TERMINAL_STATES else None
    statement = update(Job).where(col(Job.id) == job_id, col(Job.state).in_(allowed))
    if expected_attempt is not None:
        statement = statement.where(col(Job.attempt) == expected_attempt)
    # Loaded objects are not refreshed: with thousands of them, that would take longer than the updates.
    statement = statement.values(**values).execution_options(synchronize_session=False)
    if session.execute(statement).rowcount != 1:  # type: ignore[attr-defined]
        return False
    data = {"state": to.value, "reason": reason, "message": message}
    record_events(session, [{"job_id": job_id, "time": at, "type": "state", "data": data}])
    return True
