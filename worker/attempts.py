"""One attempt's way: tended while it trains, and ended as it really ended."""

from __future__ import annotations

import errno
import time
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from app.db import now, reading, transaction
from app.jobs.transitions import transition
from app.models import TERMINAL_STATES, Attempt, Dependency, Job, Lease, Reason, State
from core.run.rundir import log_tail, read
from worker.context import WorkerContext
from worker.executors.base import Executor, Key, Observation, ProcessState, TrackedAttempt
from worker.ingest import ingest, prune
from worker.training.faults import is_hardware_fault


def not_started(error: OSError) -> dict[str, Any]:
    """The outcome of an attempt whose process could not be started at all: the same would happen again."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    said = "there is no space left for its files" if full else "its process could not be started"
    reason = Reason.no_space if full else Reason.code_error
    return {"outcome": "failed", "reason": reason, "message": f"{said}: {error}"}


def monitor(context: WorkerContext, executor: Executor, watched: TrackedAttempt, seen: Observation) -> None:
    """Takes what an attempt has reported, passes on what is wished of it, and ends it when its process has ended.

    `seen` must have been looked at before this is called: an ended process has said all that it will.
    """
    attempt, run = watched.attempt, watched.run
    news: dict[str, Any] = {}
    if seen.handle is not None and seen.handle != attempt.handle:
        news |= {"handle": seen.handle, "slurm_job_id": seen.handle.get("slurm")}
    if seen.host is not None and seen.host != attempt.host:
        news |= {"host": seen.host}
    if news:
        with transaction(context.engine) as session:
            update_attempt(session, watched.key, **news)
    # Of one that still runs a block at a time: it may write faster than can be read, and others wait.
    while ingest(context.engine, attempt, run.events) and seen.state is ProcessState.ended:
        with reading(context.engine) as session:
            again = session.get(Attempt, watched.key)
            if again is None:
                return
            session.expunge(again)
            attempt = again
    if seen.state is ProcessState.unknown:
        return
    if seen.state is not ProcessState.ended:
        _pass_on(context, executor, watched, seen)
        return
    outcome = read(run.outcome) or {"outcome": "lost"}
    if outcome["outcome"] == "succeeded" and read(run.result) is None:
        outcome = {"outcome": "failed", "reason": "code_error", "message": "it ended without a result"}
    if outcome["outcome"] in ("failed", "lost"):
        outcome["log"] = log_tail(run.log)
    _wishes.pop(watched.key, None)
    end(context, attempt, outcome, seen)


# When each wish was passed on, and when the process is killed for not following it.
_wishes: dict[Key, tuple[State, float]] = {}


def _pass_on(context: WorkerContext, executor: Executor, watched: TrackedAttempt, seen: Observation) -> None:
    """Has the process stopped if its job is to be cancelled or paused, and killed if it takes too long over it."""
    key, state, message = watched.key, watched.state, watched.message
    # What was said of one that ran may be over; one that starts may still be told why it starts again.
    told = state is State.running or (state is State.starting and seen.says is not None)
    if told and seen.says != message:
        with transaction(context.engine) as session:
            same = (col(Job.id) == key[0], col(Job.state) == state, col(Job.attempt) == key[1])
            session.execute(update(Job).where(*same).values(message=seen.says))
    handle = seen.handle or watched.attempt.handle
    if state not in (State.cancelling, State.pausing) or handle is None:
        return
    wish, deadline = _wishes.get(key, (None, 0.0))
    if wish is not state:
        grace_s = executor.cancel_grace_s if state is State.cancelling else context.settings.grace_s
        _wishes[key] = (state, time.monotonic() + grace_s)
        executor.stop(handle, seen, cancel=state is State.cancelling)
    elif time.monotonic() > deadline:
        executor.kill(handle)


def end(context: WorkerContext, attempt: Attempt, outcome: dict[str, Any], seen: Observation) -> None:
    """Ends an attempt and moves its job by what happened and what was wished."""
    key = (attempt.job_id, attempt.number)
    with transaction(context.engine) as session:
        job = session.get(Job, attempt.job_id)
        if job is None:
            return
        state, reason, message, blame = _meaning(job, attempt, outcome, seen)
        values: dict[str, Any] = {"expected_attempt": attempt.number, "reason": reason, "message": message}
        if state is State.queued and blame:
            values["failures"] = job.failures + 1
            if job.failures + 1 >= job.spec["max_attempts"]:
                often = "" if job.failures == 0 else f", {job.failures + 1} times"
                state = State.failed
                values["message"] = _with_log(f"{message}{often}: see the log, then retry", outcome)
            else:
                values["message"] = f"{message}: it goes on from its newest checkpoint"
        if state is State.succeeded and job.state == State.starting:
            # The first report and the end came together.
            transition(session, job.id, State.running, expected_attempt=attempt.number)
        if state is State.cancelled and job.state not in (State.cancelling, State.queued):
            transition(
                session, job.id, State.cancelling, expected_attempt=attempt.number, reason=reason, message=message
            )
        if transition(session, job.id, state, **values):
            # Failure travels to those that wait for its components; success queues those that wait for no other.
            settle_waiting(session, [job.id])
        update_attempt(
            session,
            key,
            ended_at=now(),
            outcome=outcome["outcome"],
            reason=reason,
            message=message or outcome.get("message"),
            # Of several nodes the one that failed, if it could say so.
            host=outcome.get("node") or seen.host or attempt.host,
        )
        held = (col(Lease.job_id) == attempt.job_id, col(Lease.attempt) == attempt.number)
        session.execute(delete(Lease).where(*held))
        prune(session, attempt.job_id)


Meaning = tuple[State, Reason | None, str | None, bool]


def _meaning(job: Job, attempt: Attempt, outcome: dict[str, Any], seen: Observation) -> Meaning:
    """What an end means: the state that the job comes to, why, what a person is told, and whether it counts as failed.

    What the process itself said comes first, then what was wished, then what the executor knows.
    """
    said = outcome["outcome"]
    if said == "succeeded":
        return State.succeeded, None, None, False
    if job.state == State.cancelling:
        return State.cancelled, Reason.user, job.message, False
    if said == "failed" and outcome.get("reason") != Reason.hardware_fault:
        reason = Reason(outcome["reason"]) if outcome.get("reason") else None
        return State.failed, reason, _with_log(outcome.get("message"), outcome), False
    if job.state == State.pausing:
        return State.paused, Reason.user, None, False
    if said == "failed" or is_hardware_fault(outcome.get("log", "")):
        where = f" on {attempt.host}" if attempt.host else ""
        message = outcome.get("message") or f"the device failed{where}; the log says how"
        return State.queued, Reason.hardware_fault, message, True
    if seen.cancelled:
        return State.cancelled, Reason.user, "it was cancelled in Slurm, by scancel", False
    if seen.reason is Reason.out_of_memory:
        message = "memory ran out: ask for more with resources.memory_gb, or take a smaller training.batch_size"
        return State.failed, Reason.out_of_memory, message, False
    if seen.reason is Reason.node_failure:
        message = f"its node {seen.host or ''} failed: it goes on elsewhere from its newest checkpoint"
        return State.queued, Reason.node_failure, message, False
    if seen.reason is not Reason.preempted and (seen.reason is Reason.time_limit or _near_limit(job, attempt, outcome)):
        return _out_of_time(job, attempt, outcome)
    if seen.blameless:
        return State.queued, Reason.lost, f"{seen.says}: it is submitted again", False
    if said == "stopped" or seen.reason is Reason.preempted:
        message = "it had to make room for another: it goes on from its checkpoint"
        return State.queued, Reason.preempted, message, False
    message = outcome.get("message") or "the process ended without a word; it was killed or its machine failed"
    if seen.says:
        message = f"its process did not begin; Slurm says: {' '.join(seen.says.split())[-300:]}"
    return State.queued, Reason.lost, message, True


# Slurm sends its signal up to a minute before it is due.
_SIGNAL_SLACK_S = 65.0


def _near_limit(job: Job, attempt: Attempt, outcome: dict[str, Any]) -> bool:
    """Whether a process that was told to stop was told so because its time was nearly over.

    Slurm sends the same signal before the end of the time and before a preemption. Where it does not say itself which
    it was, the time since the attempt was first heard of is all there is.
    """
    limit_min = job.spec["resources"]["time_limit_min"]
    if outcome["outcome"] != "stopped" or outcome.get("signal") != "SIGUSR2" or limit_min is None:
        return False
    began = outcome.get("began")
    lead_s = outcome.get("lead_s", 0.0)
    return began is not None and outcome["at"] >= began + 60.0 * limit_min - lead_s - _SIGNAL_SLACK_S


def _out_of_time(job: Job, attempt: Attempt, outcome: dict[str, Any]) -> Meaning:
    """Its time is over: on with another attempt, unless this one has come no further than where it began."""
    message = "its time limit was reached: it goes on from its checkpoint"
    reached = outcome.get("step") or (job.progress or {}).get("step") or 0
    if outcome["outcome"] == "stopped" and reached > (attempt.resumed_from_step or 0):
        return State.queued, Reason.time_limit, message, False
    message = "its time limit was reached before its next checkpoint; resume it with a longer resources.time_limit_min"
    return State.queued, Reason.time_limit, message, True


def _with_log(message: str | None, outcome: dict[str, Any]) -> str:
    tail = "" if outcome.get("plain") else "\n".join(outcome.get("log", "").splitlines()[-5:])
    return f"{message or 'it failed'}" + (f"\n{tail}" if tail and outcome.get("reason") in (None, "code_error") else "")


def ready_to_settle() -> SelectOfScalar[Job]:
    """The waiting jobs that wait no longer: nothing they need is still to come, or something never will."""
    other = aliased(Job)
    needs = select(Dependency.job_id).join(other, col(other.id) == col(Dependency.depends_on))
    to_come = needs.where(col(other.state).not_in(TERMINAL_STATES))
    never = needs.where(col(other.state).in_((State.failed, State.cancelled)))
    return select(Job).where(Job.state == State.waiting, col(Job.id).in_(never) | col(Job.id).not_in(to_come))


def settle_waiting(session: Session, needed: list[str] | None = None) -> int:
    """Moves waiting jobs whose needed jobs have ended; gives how many were moved."""
    session.flush()
    ready = ready_to_settle().with_only_columns(col(Job.id))
    if needed is not None:
        ready = ready.where(col(Job.id).in_(select(Dependency.job_id).where(col(Dependency.depends_on).in_(needed))))
    other = aliased(Job)
    needs = select(Job.id, other.id, other.state).outerjoin(Dependency, col(Dependency.job_id) == col(Job.id))
    needs = needs.outerjoin(other, col(other.id) == col(Dependency.depends_on)).where(col(Job.id).in_(ready))
    ends: dict[str, dict[str, str]] = {}
    for job_id, needed_id, state in session.exec(needs):
        ends.setdefault(job_id, {})[needed_id] = state
    moved, failed = 0, []
    for job_id, its in ends.items():
        dead = [needed_id for needed_id, state in its.items() if state in (State.failed, State.cancelled)]
        if dead:
            message = f"{dead[0]}, whose components it needs, did not succeed: retry that, then this"
            moved += transition(session, job_id, State.failed, reason=Reason.dependency_failed, message=message)
            failed.append(job_id)
        else:
            moved += transition(session, job_id, State.queued)
    return moved + (settle_waiting(session, failed) if failed else 0)


def update_attempt(session: Session, key: Key, **values: Any) -> None:
    """Writes columns of an attempt."""
    where = (col(Attempt.job_id) == key[0], col(Attempt.number) == key[1])
    session.execute(update(Attempt).where(*where).values(**values).execution_options(synchronize_session=False))
