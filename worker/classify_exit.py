"""What the end of an attempt means for its job."""

from __future__ import annotations

from dataclasses import dataclass

from app.models import Reason, State
from core.run.protocol import Outcome, OutcomeKind
from worker.executors.base import Observation
from worker.hardware_faults import is_hardware_fault


@dataclass(frozen=True)
class Exit:
    """What is known about an attempt that has ended.

    `job_state` and `job_message` are those of the job just before. `stopped_near_time_limit` tells a stop before the
    time limit from a preemption; `has_progressed` is whether the attempt got further than where it began, and
    `has_new_checkpoint` whether the next one can continue from there. `hang` is the message of an attempt that the
    worker has ended because it reported nothing for too long. `is_local` is that of the executor.
    """

    job_state: State
    job_message: str | None
    outcome: Outcome
    observation: Observation
    host: str = ""
    log: str = ""
    stopped_near_time_limit: bool = False
    has_progressed: bool = False
    has_new_checkpoint: bool = False
    hang: str | None = None
    is_local: bool = False


@dataclass(frozen=True)
class ExitDecision:
    """The state a job moves to, the reason code, the message for its user, and whether this counts as a failure.

    A failure that leads back to `queued` uses up one of the job's `max_attempts`, unless the attempt completed a new
    checkpoint (see `worker/attempts.py`).
    """

    state: State
    reason: Reason | None = None
    message: str | None = None
    counts_as_failure: bool = False


def classify_exit(end: Exit) -> ExitDecision:
    """Decides in this order: what the process reported, what the user requested, what the executor knows."""
    outcome, observation = end.outcome, end.observation
    if outcome.kind is OutcomeKind.succeeded:
        return ExitDecision(State.succeeded)
    if end.job_state is State.cancelling:
        return ExitDecision(State.cancelled, Reason.user, end.job_message)
    # What a hanging process reports once it is being killed is a consequence, not the cause.
    if outcome.kind is OutcomeKind.failed and outcome.reason != Reason.hardware_fault and end.hang is None:
        reason = Reason(outcome.reason) if outcome.reason else None
        return ExitDecision(State.failed, reason, with_log(outcome.message, end))
    if end.job_state is State.pausing:
        return ExitDecision(State.paused, Reason.user)
    if outcome.reason == Reason.hardware_fault or is_hardware_fault(end.log):
        location = f" on {end.host}" if end.host else ""
        message = outcome.message or f"a device{location} failed: see the log"
        return ExitDecision(State.queued, Reason.hardware_fault, message, counts_as_failure=True)
    if end.hang is not None:
        return ExitDecision(State.queued, Reason.hang, end.hang, counts_as_failure=True)
    if observation.cancelled:
        return ExitDecision(State.cancelled, Reason.user, "cancelled in Slurm with scancel")
    if observation.reason is Reason.out_of_memory:
        message = "out of memory: request more with resources.memory_gb, or use a smaller training.batch_size"
        return ExitDecision(State.failed, Reason.out_of_memory, message)
    if observation.reason is Reason.node_failure:
        message = observation.message or (
            f"node {observation.host or ''} failed: will resume elsewhere from the latest checkpoint"
        )
        return ExitDecision(State.queued, Reason.node_failure, " ".join(message.split()))
    if observation.reason is not Reason.preempted and (
        observation.reason is Reason.time_limit or end.stopped_near_time_limit
    ):
        return _time_limit(end)
    if observation.lost_by_executor:
        return ExitDecision(State.queued, Reason.lost, f"{observation.message}: will be submitted again")
    if outcome.kind is OutcomeKind.stopped or observation.reason is Reason.preempted:
        message = f"{_cause_of_stop(end)}: will resume from its latest checkpoint"
        return ExitDecision(State.queued, Reason.preempted, message)
    message = outcome.message or "exited without reporting an outcome: it was killed, or its machine failed"
    if observation.message:
        message = f"did not start; Slurm reported: {' '.join(observation.message.split())[-300:]}"
    return ExitDecision(State.queued, Reason.lost, message, counts_as_failure=True)


def _cause_of_stop(end: Exit) -> str:
    """Who stopped an attempt, as far as there is evidence: its signal, and what the executor says."""
    if end.observation.reason is Reason.preempted:
        return "was preempted"
    signal = f" with {end.outcome.signal}" if end.outcome.signal else ""
    if end.is_local:
        # Nothing is preempted on a machine of the service's own.
        return f"was stopped{signal} from outside, as when its worker's container or its machine stops"
    return f"was stopped by Slurm{signal}, which may have preempted it"


def _time_limit(end: Exit) -> ExitDecision:
    if end.has_new_checkpoint or (end.outcome.kind is OutcomeKind.stopped and end.has_progressed):
        message = "reached its time limit: will resume from its latest checkpoint"
        return ExitDecision(State.queued, Reason.time_limit, message)
    message = "reached its time limit before its next checkpoint: retry with a longer resources.time_limit_min"
    return ExitDecision(State.queued, Reason.time_limit, message, counts_as_failure=True)


def with_log(message: str | None, end: Exit) -> str:
    """A message with the last lines of the log, where they may say more than the message."""
    outcome = end.outcome
    says_more = not outcome.is_user_error and outcome.reason in (None, Reason.code_error)
    tail = "\n".join(end.log.splitlines()[-5:]) if says_more else ""
    return f"{message or 'the job failed'}" + (f"\n{tail}" if tail else "")
