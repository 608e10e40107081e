"""What the end of an attempt means, as a table: facts first, then the expected decision."""

from __future__ import annotations

from typing import Any

import pytest

from app.models import Reason, State
from core.run.protocol import Outcome, OutcomeKind
from worker.classify_exit import Exit, classify_exit
from worker.executors.base import Observation, ProcessState

ECC = "CUDA error: uncorrectable ECC error encountered"


def facts(kind: str, job_state: str = "running", **fields: Any) -> Exit:
    """An `Exit`; the prefix of a keyword says whether it is a field of `Outcome`, of `Observation` or of `Exit`."""
    outcome = {name.removeprefix("outcome_"): value for name, value in fields.items() if name.startswith("outcome_")}
    observation = {
        name.removeprefix("observed_"): value for name, value in fields.items() if name.startswith("observed_")
    }
    rest = {name: value for name, value in fields.items() if not name.startswith(("outcome_", "observed_"))}
    return Exit(
        job_state=State(job_state),
        job_message="requested by ada",
        outcome=Outcome(OutcomeKind(kind), **outcome),
        observation=Observation(ProcessState.ended, **observation),
        **rest,
    )


TABLE: list[tuple[Exit, str, str | None, bool, str]] = [
    # What the process reported comes first.
    (facts("succeeded"), "succeeded", None, False, ""),
    (facts("succeeded", "cancelling"), "succeeded", None, False, ""),
    (facts("succeeded", "pausing"), "succeeded", None, False, ""),
    (facts("failed", outcome_reason="no_space", outcome_message="full"), "failed", "no_space", False, "full"),
    (facts("failed", outcome_message="x", log="Traceback\nKeyError"), "failed", None, False, "x\nTraceback\nKeyError"),
    (facts("failed", outcome_message="x", outcome_is_user_error=True, log="noise"), "failed", None, False, "x"),
    (facts("failed", "pausing", outcome_reason="code_error"), "failed", "code_error", False, "the job failed"),
    (facts("failed", outcome_reason="hardware_fault", outcome_message="ECC"), "queued", "hardware_fault", True, "ECC"),
    # Then what the user requested.
    (facts("failed", "cancelling"), "cancelled", "user", False, "requested by ada"),
    (facts("stopped", "cancelling"), "cancelled", "user", False, "requested by ada"),
    (facts("lost", "cancelling", observed_reason=Reason.node_failure), "cancelled", "user", False, "requested by ada"),
    (facts("stopped", "pausing"), "paused", "user", False, ""),
    (facts("lost", "pausing"), "paused", "user", False, ""),
    (facts("lost", "pausing", log=ECC), "paused", "user", False, ""),
    # Then what the log and the executor know.
    (facts("lost", log=ECC, host="n1"), "queued", "hardware_fault", True, "a device on n1 failed: see the log"),
    # A process that the worker killed because it reported nothing; in Slurm, that is a cancellation.
    (facts("lost", hang="hung", observed_cancelled=True), "queued", "hang", True, "hung"),
    (facts("stopped", hang="hung"), "queued", "hang", True, "hung"),
    (facts("failed", hang="hung", outcome_reason="code_error"), "queued", "hang", True, "hung"),
    (facts("lost", hang="hung", log=ECC, host="n1"), "queued", "hardware_fault", True, "a device on n1 failed"),
    (facts("lost", "pausing", hang="hung"), "paused", "user", False, ""),
    (facts("lost", "cancelling", hang="hung"), "cancelled", "user", False, "requested by ada"),
    (facts("succeeded", hang="hung"), "succeeded", None, False, ""),
    (facts("lost", observed_cancelled=True), "cancelled", "user", False, "cancelled in Slurm with scancel"),
    (facts("lost", observed_reason=Reason.out_of_memory), "failed", "out_of_memory", False, "resources.memory_gb"),
    (
        facts("lost", observed_reason=Reason.node_failure, observed_host="n1"),
        "queued", "node_failure", False, "node n1 failed",
    ),
    (facts("stopped", observed_reason=Reason.preempted), "queued", "preempted", False, "was preempted: will resume"),
    # Without a word from the executor: nobody preempts on a machine of the service's own, and Slurm may have.
    (
        facts("stopped", is_local=True, outcome_signal="SIGTERM"),
        "queued", "preempted", False,
        "was stopped with SIGTERM from outside, as when its worker's container or its machine stops: will resume",
    ),
    (facts("stopped", is_local=True), "queued", "preempted", False, "was stopped from outside, as when its worker's"),
    (
        facts("stopped", outcome_signal="SIGUSR2"),
        "queued", "preempted", False, "was stopped by Slurm with SIGUSR2, which may have preempted it: will resume",
    ),
    (
        facts("stopped", stopped_near_time_limit=True, has_progressed=True),
        "queued", "time_limit", False, "reached its time limit: will resume",
    ),
    (
        facts("stopped", stopped_near_time_limit=True, has_progressed=True, observed_reason=Reason.preempted),
        "queued", "preempted", False, "was preempted",
    ),
    (
        facts("stopped", stopped_near_time_limit=True),
        "queued", "time_limit", True, "before its next checkpoint",
    ),
    (facts("lost", observed_reason=Reason.time_limit, has_progressed=True), "queued", "time_limit", True, "longer"),
    (
        facts("lost", observed_reason=Reason.time_limit, has_progressed=True, has_new_checkpoint=True),
        "queued", "time_limit", False, "reached its time limit: will resume",
    ),
    (
        facts("lost", observed_lost_by_executor=True, observed_message="Slurm no longer knows it"),
        "queued", "lost", False, "Slurm no longer knows it: will be submitted again",
    ),
    (
        facts("lost", observed_message="no such file"),
        "queued", "lost", True, "did not start; Slurm reported: no such file",
    ),
    (facts("lost"), "queued", "lost", True, "exited without reporting an outcome"),
    (facts("lost", outcome_message="a peer is gone"), "queued", "lost", True, "a peer is gone"),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=range(len(TABLE)))
def test_an_end_is_classified(row: tuple[Exit, str, str | None, bool, str]) -> None:
    end, state, reason, counts_as_failure, message = row
    decision = classify_exit(end)
    assert (decision.state, decision.reason, decision.counts_as_failure) == (state, reason, counts_as_failure)
    assert message in (decision.message or "")


def test_every_reason_of_an_executor_is_in_the_table() -> None:
    known = {end.observation.reason for end, *_ in TABLE}
    assert known >= {None, Reason.out_of_memory, Reason.node_failure, Reason.preempted, Reason.time_limit}
