"""One attempt: monitored while it runs, and ended with its real outcome."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import Any

from sqlmodel import Session

from app.db import now, reading, transaction
from app.jobs.device_time import use_of
from app.jobs.disk_space import disk_usage
from app.jobs.queries import locked_job
from app.jobs.transitions import transition
from app.jobs.usage_queries import add_device_time
from app.models import Attempt, Job, Reason, State
from core.run.protocol import Outcome, OutcomeKind, Task
from core.run.rundir import AttemptDir, log_tail
from worker import queries
from worker.classify_exit import Exit, ExitDecision, classify_exit, with_log
from worker.context import WorkerContext
from worker.dependencies import resolve_waiting_jobs
from worker.executors.base import Executor, Handle, Observation, ProcessState, TrackedAttempt
from worker.ingest import ingest, prune
from worker.queries import AttemptKey
from worker.time_limit import stopped_near_time_limit

log = logging.getLogger(__name__)


def start_failure(error: OSError) -> Outcome:
    """The outcome of an attempt whose process could not be started: another start would fail in the same way."""
    return Outcome(OutcomeKind.failed, Reason.code_error, f"the training process could not be started: {error}")


def monitor(context: WorkerContext, executor: Executor, tracked: TrackedAttempt, observation: Observation) -> bool:
    """Ingests what an attempt has reported, passes stop requests on, and ends it once its process has ended.

    The observation must have been made before this call: a process that had ended then has written its last event.
    Returns whether the attempt has ended.
    """
    attempt = tracked.attempt
    _record(context, tracked, observation)
    # One block at a time of a running attempt: it may write faster than it can be read, and others are waiting.
    while (
        ingest(context.engine, attempt, tracked.dir.events, context.timings) and observation.state is ProcessState.ended
    ):
        with reading(context.engine) as session:
            refreshed = session.get(Attempt, tracked.key)
            if refreshed is None:
                return True
            session.expunge(refreshed)
            attempt = refreshed
    if observation.state is ProcessState.unknown:
        return False
    if observation.state is not ProcessState.ended:
        _pass_on_stop_requests(context, executor, tracked, observation)
        _kill_if_hung(context, tracked, observation)
        return False
    context.hangs.forget(tracked.key)
    outcome = Outcome.read(tracked.dir) or Outcome(OutcomeKind.lost)
    if outcome.kind is OutcomeKind.succeeded and not tracked.dir.run.result.exists():
        message = "reported success without a result"
        outcome = Outcome(OutcomeKind.failed, Reason.code_error, message)
    context.stop_requests.pop(tracked.key, None)
    end_attempt(context, executor, attempt, tracked.dir, outcome, observation)
    return True


def _record(context: WorkerContext, tracked: TrackedAttempt, observation: Observation) -> None:
    """Stores what has become known about where an attempt runs."""
    attempt, changed = tracked.attempt, dict[str, Any]()
    if observation.handle is not None and observation.handle.to_json() != attempt.handle:
        changed |= handle_columns(observation.handle)
    if observation.host is not None and observation.host != attempt.host:
        changed["host"] = observation.host
    if changed:
        with transaction(context.engine) as session:
            queries.update_attempt(session, tracked.key, **changed)


def handle_columns(handle: Handle) -> dict[str, Any]:
    """The columns of an attempt that hold its handle."""
    return {"handle": handle.to_json(), "slurm_job_id": handle.external_id}


def _pass_on_stop_requests(
    context: WorkerContext, executor: Executor, tracked: TrackedAttempt, observation: Observation
) -> None:
    """Stops the process of a job that is to be cancelled or paused, and kills it if that takes too long."""
    key, state = tracked.key, tracked.job_state
    # A running job's message may be out of date; a starting job may still show why it starts again.
    is_news = state is State.running or (state is State.starting and observation.message is not None)
    if is_news and observation.message != tracked.job_message:
        with transaction(context.engine) as session:
            queries.update_message(session, key, state, observation.message)
    if state not in (State.cancelling, State.pausing) or observation.handle is None:
        return
    requested, deadline = context.stop_requests.get(key, (None, 0.0))
    if requested is not state:
        grace_s = executor.cancel_grace_s if state is State.cancelling else context.settings.grace_s
        context.stop_requests[key] = (state, time.monotonic() + grace_s)
        observation.handle.stop(cancel=state is State.cancelling)
    elif time.monotonic() > deadline:
        observation.handle.kill()


def _kill_if_hung(context: WorkerContext, tracked: TrackedAttempt, observation: Observation) -> None:
    """Kills a process that has reported nothing for too long; the attempt ends once the process has."""
    if tracked.attempt.reason != Reason.hang:
        minutes = context.hangs.exceeded_min(tracked, observation)
        if minutes is None:
            return
        # Stored first: whichever worker sees the end must know that it was no loss, and no scancel of a user.
        message = f"hung: it reported nothing for {minutes} min and was ended"
        with transaction(context.engine) as session:
            queries.update_attempt(session, tracked.key, reason=Reason.hang, message=message)
    if observation.handle is not None:
        observation.handle.kill()


def end_attempt(
    context: WorkerContext,
    executor: Executor,
    attempt: Attempt,
    attempt_dir: AttemptDir,
    outcome: Outcome,
    observation: Observation,
) -> None:
    """Ends an attempt, and moves its job to the state that `classify_exit` decides on."""
    key: AttemptKey = (attempt.job_id, attempt.number)
    task = Task.read(attempt_dir)
    size_bytes = disk_usage(attempt_dir.run.path)
    output = log_tail(attempt_dir.log) if outcome.kind in (OutcomeKind.failed, OutcomeKind.lost) else ""
    with transaction(context.engine) as session:
        # From here to the commit nobody else changes the job's state: a cancellation that came between the decision and
        # its transition would otherwise be left without an attempt that carries it out.
        job = locked_job(session, attempt.job_id)
        if job is None:
            return
        exit_ = Exit(
            job_state=State(job.state),
            job_message=job.message,
            outcome=outcome,
            observation=observation,
            host=attempt.host,
            log=output,
            stopped_near_time_limit=stopped_near_time_limit(
                outcome,
                task.time_limit_min if task is not None else None,
                signal=executor.time_limit_signal,
                tolerance_s=executor.time_limit_tolerance_s,
            ),
            has_progressed=_step_reached(job, outcome) > (attempt.resumed_from_step or 0),
            has_new_checkpoint=_has_new_checkpoint(attempt),
            hang=attempt.message if attempt.reason == Reason.hang else None,
            is_local=executor.is_local,
        )
        decision = classify_exit(exit_)
        ended_at = now()
        _record_usage(session, job, key, ended_at, size_bytes)
        _move_job(session, job, attempt, decision, exit_)
        queries.update_attempt(
            session,
            key,
            ended_at=ended_at,
            outcome=outcome.kind,
            reason=decision.reason,
            message=decision.message or outcome.message,
            # Of several nodes, the one whose process reported the failure.
            host=outcome.host or observation.host or attempt.host,
        )
        queries.release_devices(session, key)
        prune(session, attempt.job_id)
    fields = {
        "job_id": attempt.job_id,
        "attempt": attempt.number,
        "outcome": outcome.kind.value,
        "reason": decision.reason,
    }
    log.info("an attempt has ended", extra={**fields, "state": decision.state.value})


def _record_usage(session: Session, job: Job, key: AttemptKey, ended_at: datetime, size_bytes: int) -> None:
    """Adds the device time of an attempt that ends to that of its owner, and stores the size of the run directory."""
    job.size_bytes = size_bytes
    # Read again: another worker may have ended it just before, and its first step may be news.
    attempt = session.get(Attempt, key, populate_existing=True)
    if attempt is not None and attempt.ended_at is None:
        for month, used in use_of(attempt, job.spec["resources"]).by_month(ended_at).items():
            add_device_time(session, job.owner, month, used)


def _has_new_checkpoint(attempt: Attempt) -> bool:
    """Whether an attempt completed a checkpoint beyond the one that it resumed from, by its own report.

    What lies in the run directory is no evidence: a damaged checkpoint that every attempt has to pass over would make
    each of them look like progress.
    """
    return (attempt.checkpoint_step or 0) > (attempt.resumed_from_step or 0)


def _step_reached(job: Job, outcome: Outcome) -> int:
    return outcome.step or (job.progress or {}).get("step") or 0


def _move_job(session: Session, job: Job, attempt: Attempt, decision: ExitDecision, end: Exit) -> None:
    state, message, columns = decision.state, decision.message, dict[str, Any]()
    failures = 0 if end.has_new_checkpoint else job.failures + decision.counts_as_failure
    if failures != job.failures:
        columns["failures"] = failures
    if state is State.queued and decision.counts_as_failure:
        if failures >= job.spec["max_attempts"]:
            times = "" if failures == 1 else f", {failures} times in a row without a new checkpoint"
            state, message = State.failed, with_log(f"{message}{times}: see the log, then retry", end)
        else:
            message = f"{message}: will resume from its latest checkpoint"
    current = {"expected_attempt": attempt.number, "reason": decision.reason, "message": message}
    if state is State.succeeded and job.state == State.starting:
        # The first report and the end arrived together.
        transition(session, job.id, State.running, expected_attempt=attempt.number)
    if state is State.cancelled and job.state not in (State.cancelling, State.queued):
        transition(session, job.id, State.cancelling, **current)  # type: ignore[arg-type]
    if transition(session, job.id, state, **current, **columns):  # type: ignore[arg-type]
        resolve_waiting_jobs(session, [job.id])
