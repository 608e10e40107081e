"""The states of a job."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The state of a job; `app.jobs.transitions.EDGES` lists every transition."""

    waiting = "waiting"
    queued = "queued"
    starting = "starting"
    running = "running"
    pausing = "pausing"
    paused = "paused"
    cancelling = "cancelling"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"


TERMINAL_STATES = (State.succeeded, State.failed, State.cancelled)
# Those of jobs that an attempt runs, starts or stops, so that they may hold devices.
ACTIVE_STATES = (State.starting, State.running, State.pausing, State.cancelling)
