"""Several attempts in one Slurm task: each is claimed, stopped and reported like one that runs alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from core.run.protocol import Claim, Outcome, OutcomeKind
from core.run.rundir import AttemptDir
from tests.parts import wait_until
from tests.worker.executors.test_starters import LIMIT_S, attempt_in, weights

ROOT = Path(__file__).parents[3]


def outcome(attempt: AttemptDir) -> OutcomeKind | None:
    report = Outcome.read(attempt)
    return None if report is None else report.kind


def test_a_task_runs_its_attempts_in_turn_and_stops_only_those_that_are_requested(tmp_path: Path) -> None:
    long = {"training": {"epochs": 100_000, "precision": "float32"}}
    stopped, cancelled, first, second = (
        attempt_in(tmp_path, name, long if name == "stopped" else {})
        for name in ("stopped", "cancelled", "first", "second")
    )
    assert Claim.abandoned().try_claim(cancelled)
    tasks = tmp_path / "tasks.json"
    attempts = (stopped, cancelled, first, second)
    tasks.write_text(json.dumps([[[str(attempt.run.path), attempt.number] for attempt in attempts]]))
    command = [sys.executable, "-m", "worker.training.slurm_task", str(tasks)]
    with (tmp_path / "log").open("wb") as log:
        task = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_until(lambda: stopped.events.exists(), "the start of the first attempt", LIMIT_S)
        stopped.stop_request.write_text("stop")
        claim = Claim.read(stopped)
        assert claim is not None
        # Slurm sends the signal to every process of the task.
        for pid in (claim.pid, task.pid):
            os.kill(pid, signal.SIGUSR2)
        assert task.wait(LIMIT_S) == 0
    finally:
        task.kill()
        task.wait()
    assert [outcome(attempt) for attempt in attempts] == [
        OutcomeKind.stopped, None, OutcomeKind.succeeded, OutcomeKind.succeeded,
    ], (tmp_path / "log").read_text()  # fmt: skip
    pids = {claim.pid for attempt in (first, second) if (claim := Claim.read(attempt)) is not None}
    assert len(pids) == 2
    assert weights(first) == weights(second)


def test_a_killed_attempt_is_reported_while_its_task_runs_the_next(tmp_path: Path) -> None:
    long = {"training": {"epochs": 100_000, "precision": "float32"}}
    killed, following = attempt_in(tmp_path, "killed", long), attempt_in(tmp_path, "following")
    tasks = tmp_path / "tasks.json"
    tasks.write_text(json.dumps([[[str(attempt.run.path), 1] for attempt in (killed, following)]]))
    command = [sys.executable, "-m", "worker.training.slurm_task", str(tasks)]
    with (tmp_path / "log").open("wb") as log:
        task = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_until(lambda: killed.events.exists(), "the start of the first attempt", LIMIT_S)
        killed.stop_request.write_text("kill")
        task.send_signal(signal.SIGUSR2)
        assert task.wait(LIMIT_S) == 0
    finally:
        task.kill()
        task.wait()
    assert (outcome(killed), outcome(following)) == (OutcomeKind.lost, OutcomeKind.succeeded)


def test_a_preempted_task_leaves_the_attempts_that_have_not_started(tmp_path: Path) -> None:
    long = {"training": {"epochs": 100_000, "precision": "float32"}}
    running, waiting = attempt_in(tmp_path, "running", long), attempt_in(tmp_path, "waiting")
    tasks = tmp_path / "tasks.json"
    tasks.write_text(json.dumps([[[str(attempt.run.path), 1] for attempt in (running, waiting)]]))
    command = [sys.executable, "-m", "worker.training.slurm_task", str(tasks)]
    with (tmp_path / "log").open("wb") as log:
        task = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_until(lambda: running.events.exists(), "the start of the first attempt", LIMIT_S)
        task.send_signal(signal.SIGUSR2)
        assert task.wait(LIMIT_S) == 0
    finally:
        task.kill()
        task.wait()
    assert (outcome(running), outcome(waiting)) == (OutcomeKind.stopped, None)
    assert not waiting.claim.exists()
