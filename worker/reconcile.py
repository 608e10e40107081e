"""Compares the database with what really runs, and acts on the difference, whether or not a message arrived."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import OperationalError

from app.db import database_time, reading, transaction
from app.jobs.webhook_queries import clean_up_deliveries
from app.models import State, Worker
from app.operations.logs import bound_contextvars
from worker import attempts, claims, lost_workers, queries
from worker.context import WorkerContext
from worker.dependencies import resolve_waiting_jobs
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
    start_local(context)
    start_remote(context)


def start_local(context: WorkerContext) -> None:
    """Starts queued jobs on this machine."""
    _start(context, _local(context))


def start_remote(context: WorkerContext) -> None:
    """Starts queued jobs of the other executors."""
    _start(context, _remote(context))


def _start(context: WorkerContext, names: Sequence[str]) -> None:
    for name in names:
        while not context.settings.no_new_starts.exists() and context.start_gate.is_open():
            if not claims.start_next(context, name):
                break


def _local(context: WorkerContext) -> list[str]:
    return [name for name, executor in context.executors.items() if executor.is_local]


def _remote(context: WorkerContext) -> list[str]:
    return [name for name, executor in context.executors.items() if not executor.is_local]


def has_local_attempts(context: WorkerContext) -> bool:
    """Whether attempts may be running on this machine, as far as is known without a query."""
    return not context.active.isdisjoint(_local(context))


def monitor_local(context: WorkerContext) -> int:
    """Monitors every attempt on this machine; returns how many have ended."""
    ended = sum(_monitor(context, name) for name in _local(context))
    if has_local_attempts(context):
        # An epoch may be shorter than the time between two rounds.
        apply_early_stopping(context.engine)
    return ended


def monitor_remote(context: WorkerContext) -> int:
    """Monitors the attempts of the other executors that this worker is responsible for; returns how many ended."""
    return sum(_monitor(context, name) for name in _remote(context))


def _monitor(context: WorkerContext, name: str) -> int:
    executor = context.executors[name]
    with reading(context.engine) as session:
        if not executor.is_responsible(session):
            return 0
        rows = queries.unfinished_attempts(session, name, context.host if executor.is_local else None)
        strays_possible = bool(rows) or (
            not executor.is_local and queries.attempt_ended_since(session, name, STRAYS_FOR)
        )
        session.expunge_all()
    (context.active.add if rows else context.active.discard)(name)
    if not strays_possible:
        return 0
    tracked = [
        TrackedAttempt(attempt, context.attempt((attempt.job_id, attempt.number)), State(state), message)
        for attempt, state, message in rows
    ]
    observed = executor.poll(tracked)
    ended = 0
    for one in tracked:
        with bound_contextvars(job_id=one.attempt.job_id, attempt=one.attempt.number):
            try:
                ended += attempts.monitor(context, executor, one, observed[one.key])
            except OperationalError as error:  # the database may be unreachable for a while
                log.warning("job %s, attempt %s could not be monitored; will try again: %s", *one.key, error)
            except Exception:  # an error with one job must not keep the others from being monitored
                log.exception("job %s, attempt %s could not be monitored; will try again", *one.key)
    _cancel_strays(context, executor, tracked)
    executor.flush()
    return ended


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
    slurm, devices, disk = status.get("slurm"), list(context.capacity.devices), context.start_gate.status()
    with reading(context.engine) as session:
        row = session.get(Worker, context.host)
        current = (devices, slurm, _starts_paused(disk))
        is_current = row is not None and (list(row.devices), row.slurm, _starts_paused(row.disk)) == current
        if row is not None and is_current and database_time(session) - row.seen_at < HEARTBEAT:
            return
    with transaction(context.engine) as session:
        capacity = context.capacity
        row = Worker(
            host=context.host,
            devices=devices,
            cpus=capacity.cpus,
            memory_gb=capacity.memory_gib,
            seen_at=database_time(session),
            device_keys=context.device_keys,
            disk=disk,
            timings=context.timings.take(),
        )
        row.slurm = slurm
        session.merge(row)


def _starts_paused(disk: dict[str, Any] | None) -> bool | None:
    return None if disk is None else disk["starts_paused"]


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


def clean_up_webhooks(context: WorkerContext) -> None:
    """Gives up old deliveries to addresses that are no longer among the settings, and forgets older ones."""
    with transaction(context.engine) as session:
        given_up = clean_up_deliveries(session, context.settings.webhook_url)
    if given_up:
        log.warning("%d webhooks were given up: their addresses are not in MCN_WEBHOOK_URL any more", given_up)


def reconcile(context: WorkerContext) -> None:
    """One round over everything."""
    reconcile_local(context)
    reconcile_remote(context)


def reconcile_local(context: WorkerContext) -> int:
    """One round over this machine, waiting jobs and sweeps; returns how many attempts have ended."""
    with context.timings.measured("local"):
        return _reconcile_local(context)


def _reconcile_local(context: WorkerContext) -> int:
    heartbeat(context)
    lost_workers.kill_leftovers(context)
    # A read transaction first: it holds up no writer.
    with reading(context.engine) as session:
        is_settled = session.exec(queries.resolvable_jobs().limit(1)).first() is None
    if not is_settled:
        with transaction(context.engine) as session:
            resolve_waiting_jobs(session)
    ended = monitor_local(context) + lost_workers.end_lost_attempts(context)
    apply_early_stopping(context.engine)
    start_local(context)
    return ended


def reconcile_remote(context: WorkerContext) -> int:
    """One round over the other executors, whose commands may be slow; returns how many attempts have ended."""
    with context.timings.measured("remote"):
        ended = monitor_remote(context)
        start_remote(context)
    context.size_backlog.measure_some(context.engine, context.settings.runs_dir)
    return ended
