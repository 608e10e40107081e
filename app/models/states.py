"""The states of a job and the reason codes that explain them."""

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


class Reason(StrEnum):
    """Why a job is in its state."""

    dependency_failed = "dependency_failed"
    invalid_component = "invalid_component"
    preempted = "preempted"
    node_failure = "node_failure"
    hardware_fault = "hardware_fault"
    out_of_memory = "out_of_memory"
    time_limit = "time_limit"
    loss_not_finite = "loss_not_finite"
    no_space = "no_space"
    code_error = "code_error"
    lost = "lost"
    user = "user"
