"""What should be, against what is: the rounds that make every message to a worker a mere nudge."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlmodel import col, select

from app.db import now, reading, transaction
from app.models import WORKER_TIMEOUT, Attempt, Job, State, Worker
from worker import attempts as lifecycle
from worker import claims as starting
from worker.context import WorkerContext
from worker.early_stopping import apply_early_stopping
from worker.executors.base import Executor, TrackedAttempt
from worker.executors.slurm.executor import SlurmExecutor

log = logging.getLogger(__name__)
HEARTBEAT = timedelta(seconds=5)
# Slurm jobs that nobody waits for are looked for this long after the last attempt has ended.
AFTERMATH = timedelta(minutes=5)


def start_all(context: WorkerContext) -> None:
    """Starts queued jobs until there is no room or no job left."""
    for executor in context.executors:
        while not context.settings.no_new_starts.exists() and starting.start_next(context, executor):
            pass


def monitor_local(context: WorkerContext) -> int:
    """Tends every attempt on this machine; gives how many there are."""
    watched = _watched(context, Attempt.host == context.host, Attempt.executor == "local")
    count = _monitor(context, context.executors["local"], watched)
    if count:
        # Epochs may take less time than there is between two rounds.
        apply_early_stopping(context.engine)
    return count


def _watched(context: WorkerContext, *where: Any) -> list[TrackedAttempt]:
    """The attempts that have not ended, with what their jobs are to come to, in one query."""
    with reading(context.engine) as session:
        query = select(Attempt, Job.state, Job.message).join(Job, col(Job.id) == col(Attempt.job_id))
        rows = session.exec(query.where(*where, col(Attempt.ended_at).is_(None))).all()
        session.expunge_all()
    return [
        TrackedAttempt(attempt, context.run(attempt.job_id, attempt.number), State(state), message)
        for attempt, state, message in rows
    ]


def monitor_slurm(context: WorkerContext) -> int:
    """Tends every attempt in Slurm, if no other worker does; gives how many there are."""
    executor = context.executors.get("slurm")
    if not isinstance(executor, SlurmExecutor) or not _leads(context):
        return 0
    watched = _watched(context, Attempt.executor == "slurm")
    if not watched:
        with reading(context.engine) as session:
            recent = select(Attempt.job_id).where(
                Attempt.executor == "slurm", col(Attempt.ended_at) > now() - AFTERMATH
            )
            if session.exec(recent.limit(1)).first() is None:
                return 0
    count = _monitor(context, executor, watched)
    _end_strays(context, executor, watched)
    executor.flush()
    return count


def _monitor(context: WorkerContext, executor: Executor, watched: Sequence[TrackedAttempt]) -> int:
    seen = executor.poll(watched)
    for one in watched:
        try:
            lifecycle.monitor(context, executor, one, seen[one.key])
        except Exception:  # one job's trouble is not the others'
            log.exception("job %s, attempt %s could not be tended; it is tried again", *one.key)
    executor.flush()
    return len(watched)


def _end_strays(context: WorkerContext, executor: SlurmExecutor, watched: Sequence[TrackedAttempt]) -> None:
    """Ends what runs in Slurm for an attempt that has ended: one that was given up and came after all."""
    strays = executor.strays(watched)
    if not strays:
        return
    with reading(context.engine) as session:
        ended = select(Attempt.slurm_job_name, Attempt.array_index).where(
            col(Attempt.slurm_job_name).in_({row.name for row in strays}), col(Attempt.ended_at).is_not(None)
        )
        over = set(session.exec(ended).all())
    for row in strays:
        # Another service of the same user may have jobs there too: only what is known here is ended.
        if (row.name, row.index) in over:
            log.warning("Slurm job %s belongs to an attempt that has ended: it is cancelled", row.id)
            executor.end_stray(row)


def _leads(context: WorkerContext) -> bool:
    """Whether this worker is the one that follows Slurm: the first by name of those that can and are there."""
    with reading(context.engine) as session:
        there = select(Worker.host).where(col(Worker.slurm).is_not(None), col(Worker.seen_at) > now() - WORKER_TIMEOUT)
        hosts = list(session.exec(there))
    return not hosts or context.host == min(hosts)


def heartbeat(context: WorkerContext) -> None:
    """Says that this machine is here, and with what; now and then."""
    if context.slurm is not None:
        context.slurm.refresh()
    slurm = context.slurm.to_json() if context.slurm is not None else None
    with reading(context.engine) as session:
        known = session.get(Worker, context.host)
        told = known is not None and (tuple(known.devices), known.slurm) == (context.devices, slurm)
        if known is not None and told and now() - known.seen_at < HEARTBEAT:
            return
    with transaction(context.engine) as session:
        size, devices = context.size, list(context.devices)
        row = Worker(host=context.host, devices=devices, cpus=size.cpus, memory_gb=size.memory_gb, seen_at=now())
        row.slurm = slurm
        session.merge(row)


def reconcile(context: WorkerContext) -> None:
    """One round over everything."""
    heartbeat(context)
    # Looked for without holding up whoever writes.
    with reading(context.engine) as session:
        settled = session.exec(lifecycle.ready_to_settle().limit(1)).first() is None
    if not settled:
        with transaction(context.engine) as session:
            lifecycle.settle_waiting(session)
    monitor_local(context)
    monitor_slurm(context)
    apply_early_stopping(context.engine)
    start_all(context)
