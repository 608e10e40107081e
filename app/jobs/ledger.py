"""Where the time of a job went: useful, done again after a resume, silent and waiting, in device-minutes by cause.

An attempt's time is divided in proportion to its steps: those that a later attempt did again are redone. An attempt
that ended before its first step is redone as a whole. Silent is what an attempt that was lost or hung held its devices
for after its last report. Waiting is the time in the states below, and in Slurm's queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session

from app.db import now
from app.jobs import queries
from app.jobs.device_time import requested_devices
from app.jobs.report_schemas import CauseTotals, Ledger, LedgerRow, LedgerTotals
from app.models import TERMINAL_STATES, Attempt, Event, Job, Reason, State
from core.run.protocol import OutcomeKind

WAITING_STATES = (State.waiting, State.queued, State.pausing, State.paused)
PENDING_IN_SLURM = "slurm"
MAX_EVENTS = 100_000


class Wait(NamedTuple):
    """A time in which a job waited, and why."""

    start: datetime
    end: datetime
    cause: str

    @property
    def minutes(self) -> float:
        """Its length."""
        return (self.end - self.start).total_seconds() / 60


def ledger(session: Session, job: Job) -> Ledger:
    """The ledger of a job, up to now if it has not ended."""
    attempts = queries.list_attempts(session, job.id)
    events = queries.list_events(session, job.id, after=0, limit=MAX_EVENTS, types=["state"])
    return compute(job, attempts, events, now())


def compute(job: Job, attempts: Sequence[Attempt], events: Sequence[Event], at: datetime) -> Ledger:
    """The ledger from the rows of a job's attempts and state events."""
    waits = _waits(job, events, at)
    devices = requested_devices(job.spec["resources"])
    before = _by_attempt(waits, attempts)
    rows = [
        _row(job, attempts, index, waits, before.get(index, 0.0) * devices, at) for index in range(len(attempts))
    ]  # fmt: skip
    causes: dict[str, CauseTotals] = {}
    for wait in waits:
        _cause(causes, wait.cause).waiting += wait.minutes * devices
    for row in rows:
        if row.redone or row.silent:
            cause = _cause(causes, row.reason or "other")
            cause.redone += row.redone or 0.0
            cause.silent += row.silent
    totals = LedgerTotals(
        useful=sum(row.useful or 0.0 for row in rows),
        redone=sum(row.redone or 0.0 for row in rows),
        silent=sum(row.silent for row in rows),
        waiting=sum(wait.minutes * devices for wait in waits),
        unknown=sum(row.device_minutes - row.silent for row in rows if row.redone is None),
    )
    everything = totals.useful + totals.redone + totals.silent + totals.waiting
    share = totals.useful / everything if everything else None
    return Ledger(attempts=rows, by_cause=causes, totals=totals, useful_share=share)


def _cause(causes: dict[str, CauseTotals], name: str) -> CauseTotals:
    return causes.setdefault(name, CauseTotals(redone=0.0, silent=0.0, waiting=0.0))


def _waits(job: Job, events: Sequence[Event], at: datetime) -> list[Wait]:
    waits: list[Wait] = []
    ends = [event.time for event in events[1:]] + [at]
    for event, end in zip(events, ends, strict=False):
        state = State(event.data["state"])
        if state in WAITING_STATES:
            waits.append(Wait(event.time, end, event.data.get("reason") or state.value))
        elif state is State.starting and job.executor == "slurm":
            waits.append(Wait(event.time, end, PENDING_IN_SLURM))
    return waits


def _by_attempt(waits: Sequence[Wait], attempts: Sequence[Attempt]) -> dict[int, float]:
    """Minutes waited, by the index of the attempt that followed; a wait without one is left out."""
    minutes: dict[int, float] = {}
    for wait in waits:
        index = next((k for k, attempt in enumerate(attempts) if attempt.started_at >= wait.start), None)
        if index is not None:
            minutes[index] = minutes.get(index, 0.0) + wait.minutes
    return minutes


def _row(
    job: Job, attempts: Sequence[Attempt], index: int, waits: Sequence[Wait], waiting: float, at: datetime
) -> LedgerRow:
    attempt = attempts[index]
    devices = len(attempt.devices) or requested_devices(job.spec["resources"])
    end = attempt.ended_at or at
    held = _minutes(waits, attempt.started_at, end) * devices
    minutes = _minutes(waits, attempt.started_at, min(end, _last_sign_of_life(attempt) or end)) * devices
    steps, share = _redone(job, attempts, index)
    redone = None if share is None else minutes * share
    return LedgerRow(
        attempt=attempt.number,
        executor=attempt.executor,
        devices=devices,
        reason=attempt.reason,
        device_minutes=held,
        useful=None if redone is None else minutes - redone,
        redone=redone,
        redone_steps=steps,
        silent=held - minutes,
        waiting=waiting,
    )


def _minutes(waits: Sequence[Wait], start: datetime, end: datetime) -> float:
    """The time from start to end without the waits: a process that writes its last checkpoint, or that is pending in
    Slurm, counts as waiting."""
    seconds = (end - start).total_seconds()
    for wait in waits:
        seconds -= max(0.0, (min(wait.end, end) - max(wait.start, start)).total_seconds())
    return max(0.0, seconds) / 60


def _last_sign_of_life(attempt: Attempt) -> datetime | None:
    """The last report of an attempt whose end its process did not report; None for others, and where it is not known.

    Clocks of machines may differ: one that is behind must not make an attempt end before it began.
    """
    was_silent = attempt.outcome == OutcomeKind.lost or attempt.reason == Reason.hang
    if attempt.ended_at is None or not was_silent or attempt.reported_at is None:
        return None
    return max(attempt.started_at, attempt.reported_at)


def _redone(job: Job, attempts: Sequence[Attempt], index: int) -> tuple[int | None, float | None]:
    """How many of an attempt's steps were done again, and which share of its steps that is; null if unknown."""
    attempt = attempts[index]
    first, last = attempt.resumed_from_step, attempt.last_step
    if attempt.ended_at is None or attempt.outcome == "succeeded":
        return 0, 0.0
    if first is None:
        return 0, 1.0
    resumed = [later.resumed_from_step for later in attempts[index + 1 :] if later.resumed_from_step is not None]
    if not resumed:
        # Nothing has been done again, but something will be if the job goes on.
        return (0, 0.0) if job.state in TERMINAL_STATES else (None, None)
    if last is None:
        return None, None
    steps = max(0, last - max(first, min(resumed)))
    return steps, steps / (last - first) if last > first else 0.0
