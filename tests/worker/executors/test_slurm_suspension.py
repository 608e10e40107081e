"""What Slurm's states say about an attempt that is running but cannot report anything."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.models import State
from worker.executors.base import ProcessState
from worker.executors.slurm.executor import SlurmExecutor
from worker.executors.slurm.handle import SignalQueue
from worker.executors.slurm.queue_commands import Row


@pytest.mark.parametrize(("state", "is_suspended"), [("RUNNING", False), ("SUSPENDED", True), ("STOPPED", True)])
def test_a_suspended_job_is_alive_and_cannot_report(state: str, is_suspended: bool) -> None:
    executor = SlurmExecutor.__new__(SlurmExecutor)
    executor._missing_since, executor._signals = {}, SignalQueue()
    tracked = cast(Any, SimpleNamespace(key=("job", 1), job_state=State.running, dir=None))
    observed = executor._observe(tracked, [Row("12", "job-a1", state, "n1")], is_shared=False)
    assert (observed.state, observed.is_suspended) == (ProcessState.alive, is_suspended)
