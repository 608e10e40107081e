"""A training process ends when another machine goes on with its job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.run.protocol import Outcome, Task
from tests.parts import wait_until
from tests.worker.executors.test_starters import LIMIT_S, attempt_in

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.processes
def test_an_attempt_ends_without_a_word_once_the_next_one_has_begun(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path, "given-up", {"training": {"epochs": 100_000, "precision": "float32"}})
    command = [sys.executable, "-m", "worker.training.main", str(attempt.run.path), str(attempt.number)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_until(lambda: attempt.events.exists() and b'"running"' in attempt.events.read_bytes(), "training", LIMIT_S)
        task = Task.read(attempt)
        assert task is not None
        task.write(attempt.run.attempt(attempt.number + 1))
        assert process.wait(LIMIT_S) == 1
    finally:
        process.kill()
        process.wait()
    assert Outcome.read(attempt) is None
    assert "another machine goes on with this job" in (tmp_path / "log").read_text()
