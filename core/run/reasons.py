"""Why a job is in its state: the reason codes of the API, of which a training process reports some."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The values of `reason` in jobs and outcomes."""

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
    hang = "hang"
    lost = "lost"
    user = "user"
