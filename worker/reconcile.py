"""What should be, against what is: the rounds that make every message to a worker a mere nudge."""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlmodel import col, select

from app.db import now, reading, transaction
from app.models import Attempt, Worker
from worker import lifecycle
from worker.machine import Machine

log = logging.getLogger(__name__)
HEARTBEAT = timedelta(seconds=5)


def start_all(machine: Machine) -> None:
    """Starts queued jobs until there is no device or no job left."""
    while lifecycle.start_next(machine):
        pass


def tend_all(machine: Machine) -> int:
    """Tends every attempt on this machine; gives how many there are."""
    with reading(machine.engine) as session:
        query = select(Attempt).where(Attempt.host == machine.host, col(Attempt.ended_at).is_(None))
        attempts = list(session.exec(query))
        session.expunge_all()
    for attempt in attempts:
        try:
            lifecycle.tend(machine, attempt)
        except Exception:  # one job's trouble is not the others'
            log.exception("job %s, attempt %s could not be tended; it is tried again", attempt.job_id, attempt.number)
    return len(attempts)


def heartbeat(machine: Machine) -> None:
    """Says that this machine is here, and with what; now and then."""
    with reading(machine.engine) as session:
        known = session.get(Worker, machine.host)
        if known and now() - known.seen_at < HEARTBEAT and tuple(known.devices) == machine.devices:
            return
    with transaction(machine.engine) as session:
        session.merge(Worker(host=machine.host, devices=list(machine.devices), seen_at=now()))


def reconcile(machine: Machine) -> None:
    """One round over everything."""
    heartbeat(machine)
    # Looked for without holding up whoever writes.
    with reading(machine.engine) as session:
        settled = session.exec(lifecycle.ready_to_settle().limit(1)).first() is None
    if not settled:
        with transaction(machine.engine) as session:
            lifecycle.settle_waiting(session)
    tend_all(machine)
    start_all(machine)
