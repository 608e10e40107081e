"""What should be, against what is: the rounds that make every message to a worker a mere nudge."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlmodel import col, select

from app.db import now, reading, transaction
from app.jobs.states import State
from app.models import SILENT, Attempt, Job, Worker
from worker import lifecycle, starting
from worker.executors.base import Executor, Watched
from worker.executors.slurm import SlurmExecutor
from worker.machine import Machine
from worker.sweeps import stop_losers

log = logging.getLogger(__name__)
HEARTBEAT = timedelta(seconds=5)
# Slurm jobs that nobody waits for are looked for this long after the last attempt has ended.
AFTERMATH = timedelta(minutes=5)


def start_all(machine: Machine) -> None:
    """Starts queued jobs until there is no room or no job left."""
    for executor in machine.executors:
        while not machine.settings.no_new_starts.exists() and starting.start_next(machine, executor):
            pass


def tend_local(machine: Machine) -> int:
    """Tends every attempt on this machine; gives how many there are."""
    watched = _watched(machine, Attempt.host == machine.host, Attempt.executor == "local")
    count = _tend(machine, machine.executors["local"], watched)
    if count:
        # Epochs may take less time than there is between two rounds.
        stop_losers(machine.engine)
    return count


def _watched(machine: Machine, *where: Any) -> list[Watched]:
    """The attempts that have not ended, with what their jobs are to come to, in one query."""
    with reading(machine.engine) as session:
        query = select(Attempt, Job.state, Job.message).join(Job, col(Job.id) == col(Attempt.job_id))
        rows = session.exec(query.where(*where, col(Attempt.ended_at).is_(None))).all()
        session.expunge_all()
    return [
        Watched(attempt, machine.run(attempt.job_id, attempt.number), State(state), message)
        for attempt, state, message in rows
    ]


def tend_slurm(machine: Machine) -> int:
    """Tends every attempt in Slurm, if no other worker does; gives how many there are."""
    executor = machine.executors.get("slurm")
    if not isinstance(executor, SlurmExecutor) or not _leads(machine):
        return 0
    watched = _watched(machine, Attempt.executor == "slurm")
    if not watched:
        with reading(machine.engine) as session:
            recent = select(Attempt.job_id).where(
                Attempt.executor == "slurm", col(Attempt.ended_at) > now() - AFTERMATH
            )
            if session.exec(recent.limit(1)).first() is None:
                return 0
    count = _tend(machine, executor, watched)
    _end_strays(machine, executor, watched)
    executor.flush()
    return count


def _tend(machine: Machine, executor: Executor, watched: Sequence[Watched]) -> int:
    seen = executor.look(watched)
    for one in watched:
        try:
            lifecycle.tend(machine, executor, one, seen[one.key])
        except Exception:  # one job's trouble is not the others'
            log.exception("job %s, attempt %s could not be tended; it is tried again", *one.key)
    executor.flush()
    return len(watched)


def _end_strays(machine: Machine, executor: SlurmExecutor, watched: Sequence[Watched]) -> None:
    """Ends what runs in Slurm for an attempt that has ended: one that was given up and came after all."""
    strays = executor.strays(watched)
    if not strays:
        return
    with reading(machine.engine) as session:
        ended = select(Attempt.stamp, Attempt.array_index).where(
            col(Attempt.stamp).in_({row.name for row in strays}), col(Attempt.ended_at).is_not(None)
        )
        over = set(session.exec(ended).all())
    for row in strays:
        # Another service of the same user may have jobs there too: only what is known here is ended.
        if (row.name, row.index) in over:
            log.warning("Slurm job %s belongs to an attempt that has ended: it is cancelled", row.id)
            executor.end_stray(row)


def _leads(machine: Machine) -> bool:
    """Whether this worker is the one that follows Slurm: the first by name of those that can and are there."""
    with reading(machine.engine) as session:
        there = select(Worker.host).where(col(Worker.slurm).is_not(None), col(Worker.seen_at) > now() - SILENT)
        hosts = list(session.exec(there))
    return not hosts or machine.host == min(hosts)


def heartbeat(machine: Machine) -> None:
    """Says that this machine is here, and with what; now and then."""
    if machine.slurm is not None:
        machine.slurm.refresh()
    slurm = machine.slurm.to_json() if machine.slurm is not None else None
    with reading(machine.engine) as session:
        known = session.get(Worker, machine.host)
        told = known is not None and (tuple(known.devices), known.slurm) == (machine.devices, slurm)
        if known is not None and told and now() - known.seen_at < HEARTBEAT:
            return
    with transaction(machine.engine) as session:
        size, devices = machine.size, list(machine.devices)
        row = Worker(host=machine.host, devices=devices, cpus=size.cpus, memory_gb=size.memory_gb, seen_at=now())
        row.slurm = slurm
        session.merge(row)


def reconcile(machine: Machine) -> None:
    """One round over everything."""
    heartbeat(machine)
    # Looked for without holding up whoever writes.
    with reading(machine.engine) as session:
        settled = session.exec(lifecycle.ready_to_settle().limit(1)).first() is None
    if not settled:
        with transaction(machine.engine) as session:
            lifecycle.settle_waiting(session)
    tend_local(machine)
    tend_slurm(machine)
    stop_losers(machine.engine)
    start_all(machine)
