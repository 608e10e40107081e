"""When a job that Slurm reports as cancelled was lost by a controller that was restarted."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.db import now
from worker.executors.slurm.executor import SlurmExecutor


@pytest.mark.parametrize(("started_s_before_boot", "lost"), [(30.0, True), (0.0, True), (-0.9, True), (-1.1, False)])
def test_a_restart_counts_from_the_second_in_which_the_attempt_started(
    started_s_before_boot: float, lost: bool
) -> None:
    # Slurm gives the whole second of its start.
    booted = now().replace(microsecond=0) - timedelta(seconds=5)
    executor = SlurmExecutor.__new__(SlurmExecutor)
    executor._booted_at = lambda: booted  # type: ignore[assignment]
    attempt = SimpleNamespace(started_at=booted - timedelta(seconds=started_s_before_boot))
    tracked = cast(Any, SimpleNamespace(attempt=attempt))
    assert executor._controller_restarted_since(tracked) is lost
