"""Compares what should be with what is. These rounds make every message to a worker a mere nudge."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from datetime import timedelta

from app.db import now, reading, transaction
from app.models import State, Worker
from worker import attempts, claims, queries
from worker.context import WorkerContext
from worker.dependencies import settle_waiting
from worker.early_stopping import apply_early_stopping
from worker.executors.base import Executor, TrackedAttempt

log = logging.getLogger(__name__)
HEARTBEAT = timedelta(seconds=5)
# Strays are looked for this long after the last attempt has ended.
STRAYS_FOR = timedelta(minutes=5)
# A submission folder that belongs to no attempt is deleted at this age.
SUBMISSION_FOLDER_AGE_S = 3600.0


def start_all(context: WorkerContext) -> None:
    """Starts queued jobs until there is no room or no job left."""
    for name in context.executors:
        while not context.settings.no_new_starts.exists() and claims.start_next(context, name):
            pass


def monitor_local(context: WorkerContext) -> int:
    """Monitors every attempt on this machine; returns how many there are."""
    count = sum(_monitor(context, name) for name, executor in context.executors.items() if executor.is_local)
    if count:
        # An epoch may be shorter than the time between two rounds.
        apply_early_stopping(context.engine)
    return count


def monitor_remote(context: WorkerContext) -> int:
    """Monitors the attempts of the other executors that this worker is responsible for; returns how many there are."""
    return sum(_monitor(context, name) for name, executor in context.executors.items() if not executor.is_local)


def _monitor(context: WorkerContext, name: str) -> int:
    executor = context.executors[name]
    with reading(context.engine) as session:
        if not executor.is_responsible(session):
            return 0
        rows = queries.unended_attempts(session, name, context.host if executor.is_local else None)
        strays_possible = bool(rows) or (
            not executor.is_local and queries.attempt_ended_since(session, name, STRAYS_FOR)
        )
        session.expunge_all()
    if not strays_possible:
        return 0
    tracked = [
        TrackedAttempt(attempt, context.attempt((attempt.job_id, attempt.number)), State(state), message)
        for attempt, state, message in rows
    ]
    observed = executor.poll(tracked)
    for one in tracked:
        try:
            attempts.monitor(context, executor, one, observed[one.key])
        except Exception:  # one job's trouble must not stop the others
            log.exception("job %s, attempt %s could not be monitored; will try again", *one.key)
    _cancel_strays(context, executor, tracked)
    executor.flush()
    return len(tracked)


def _cancel_strays(context: WorkerContext, executor: Executor, tracked: Sequence[TrackedAttempt]) -> None:
    """Cancels what still runs for an attempt that has ended: one that was given up on and started after all."""
    strays = executor.strays(tracked)
    if not strays:
        return
    with reading(context.engine) as session:
        ended = queries.ended_slurm_jobs(session, [name for name, _ in strays])
    for name, index in strays:
        # Another service of the same user may have jobs there too: cancel only what this database knows.
        if (name, index) in ended:
            log.warning("%s (index %s) belongs to an attempt that has ended: cancelling it", name, index)
            executor.cancel_stray(name, index)


def heartbeat(context: WorkerContext) -> None:
    """Records now and then that this worker is alive, and what it has."""
    status = {name: executor.status() for name, executor in context.executors.items()}
    slurm, devices = status.get("slurm"), list(context.capacity.devices)
    with reading(context.engine) as session:
        row = session.get(Worker, context.host)
        is_current = row is not None and (list(row.devices), row.slurm) == (devices, slurm)
        if row is not None and is_current and now() - row.seen_at < HEARTBEAT:
            return
    with transaction(context.engine) as session:
        capacity = context.capacity
        row = Worker(
            host=context.host, devices=devices, cpus=capacity.cpus, memory_gb=capacity.memory_gib, seen_at=now()
        )
        row.slurm = slurm
        session.merge(row)


def delete_unused_submissions(context: WorkerContext) -> int:
    """Deletes folders with scripts and output of Slurm submissions whose jobs have been deleted; returns how many."""
    folder = context.settings.slurm_dir
    if not folder.exists():
        return 0
    limit = time.time() - SUBMISSION_FOLDER_AGE_S
    old = [path for path in folder.iterdir() if path.is_dir() and path.stat().st_mtime < limit]
    unused: list[str] = []
    for start in range(0, len(old), 500):
        names = [path.name for path in old[start : start + 500]]
        with reading(context.engine) as session:
            known = queries.known_slurm_jobs(session, names)
        unused += [name for name in names if name not in known]
    for name in unused:
        shutil.rmtree(folder / name, ignore_errors=True)
    return len(unused)


def reconcile(context: WorkerContext) -> None:
    """One round over everything."""
    heartbeat(context)
    # Looked for without holding up whoever writes.
    with reading(context.engine) as session:
        is_settled = session.exec(queries.settleable_jobs().limit(1)).first() is None
    if not is_settled:
        with transaction(context.engine) as session:
            settle_waiting(session)
    monitor_local(context)
    monitor_remote(context)
    apply_early_stopping(context.engine)
    start_all(context)
