"""From queued to started. No two workers claim the same job, and a job whose start fails is not lost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from app.db import now, transaction
from app.jobs.transitions import transition
from app.models import Attempt, Lease, Reason, State
from core.run.protocol import Outcome, OutcomeKind
from core.run.rundir import AttemptDir
from worker import queries
from worker.attempts import end_attempt, handle_columns, start_failure
from worker.context import WorkerContext
from worker.executors.base import Batch, BusyError, Executor, Handle, Observation, ProcessState, RefusedError
from worker.start_gate import disk_trouble
from worker.task_builder import TaskBuilder

log = logging.getLogger(__name__)


@dataclass
class ClaimedBatch:
    """Attempts that are this worker's to start, with their directories."""

    attempts: list[Attempt]
    dirs: list[AttemptDir]


def start_next(context: WorkerContext, name: str) -> bool:
    """Starts the next batch of an executor's queue if there is room for it; returns whether more may follow."""
    executor = context.executors[name]
    with transaction(context.engine) as session:
        batch = executor.next_batch(session)
        if batch is None:
            return False
        tasks = TaskBuilder(session, context.settings)
        claimed = _claim(session, context, name, batch)
        if not claimed.attempts:
            return True
        jobs = {job.id: job for job in batch.jobs}
        to_write = [
            (attempt_dir, tasks.build(jobs[attempt.job_id], attempt.number, batch.submission))
            for attempt, attempt_dir in zip(claimed.attempts, claimed.dirs, strict=True)
        ]
        session.flush()
        for attempt in claimed.attempts:
            session.refresh(attempt)
            session.expunge(attempt)
    context.active.add(name)
    try:
        for attempt_dir, task in to_write:
            task.write(attempt_dir)
        handles = executor.submit(batch.submission, claimed.dirs)
    except OSError as error:
        trouble = disk_trouble(error, context.host)
        if trouble is not None:
            context.start_gate.close()
            _undo(context, claimed, trouble)
            return False
        _end_all(context, executor, claimed, start_failure(error))
    except RefusedError as error:
        _end_all(context, executor, claimed, Outcome(OutcomeKind.failed, Reason.code_error, str(error)))
    except BusyError as error:
        _undo(context, claimed, f"{error}: will be submitted again")
        return False
    else:
        _record_handles(context, claimed.attempts, handles)
        for attempt in claimed.attempts:
            fields = {"job_id": attempt.job_id, "attempt": attempt.number, "executor": name}
            log.info("an attempt has been started", extra=fields)
    return True


def _claim(session: Session, context: WorkerContext, name: str, batch: Batch) -> ClaimedBatch:
    """Moves the jobs of a batch to starting, each with a new attempt; leaves out what another worker claimed first."""
    claimed = ClaimedBatch([], [])
    submission = batch.submission
    for job in batch.jobs:
        number = job.attempt + 1
        if not transition(
            session,
            job.id,
            State.starting,
            from_state=State.queued,
            expected_attempt=job.attempt,
            attempt=number,
            started_at=job.started_at or now(),
        ):
            continue
        attempt = Attempt(
            job_id=job.id,
            number=number,
            executor=name,
            host=submission.host,
            devices=list(submission.devices),
            started_at=now(),
            slurm_job_name=submission.job_name,
            array_index=batch.array_index(len(claimed.attempts)),
        )
        session.add(attempt)
        session.add_all(
            Lease(host=submission.host, device=device, job_id=job.id, attempt=number) for device in submission.devices
        )
        claimed.attempts.append(attempt)
        claimed.dirs.append(context.attempt((job.id, number)))
    return claimed


def _end_all(context: WorkerContext, executor: Executor, claimed: ClaimedBatch, outcome: Outcome) -> None:
    for attempt, attempt_dir in zip(claimed.attempts, claimed.dirs, strict=True):
        end_attempt(context, executor, attempt, attempt_dir, outcome, Observation(ProcessState.ended))


def _undo(context: WorkerContext, claimed: ClaimedBatch, message: str) -> None:
    """Queues jobs again as if they had not been claimed, and removes their attempts."""
    with transaction(context.engine) as session:
        for attempt in claimed.attempts:
            before = attempt.number - 1
            values = {"expected_attempt": attempt.number, "attempt": before, "message": message}
            if transition(session, attempt.job_id, State.queued, from_state=State.starting, **values):  # type: ignore[arg-type]
                key = (attempt.job_id, attempt.number)
                queries.delete_attempt(session, key)
                queries.release_devices(session, key)


def _record_handles(context: WorkerContext, attempts: Sequence[Attempt], handles: Sequence[Handle | None]) -> None:
    with transaction(context.engine) as session:
        for attempt, handle in zip(attempts, handles, strict=True):
            if handle is not None:
                queries.update_attempt(session, (attempt.job_id, attempt.number), **handle_columns(handle))
