"""Warm and cold starts of real training processes."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.run.protocol import Claim, Outcome, OutcomeKind, Task
from core.run.rundir import AttemptDir, RunDir
from core.spec import parse_spec, resolve
from tests.parts import wait_until
from worker.executors.starters import ColdStarter, WarmStarter

LIMIT_S = 120.0
SPEC = {
    "kind": "expert",
    "expert": {"arch": "convnet_small"},
    "dataset": {"name": "digits", "split": {"regime": "class_shards", "num_shards": 4, "holdout": 0.4}},
    "training": {"epochs": 1, "precision": "float32"},
    "resources": {"cpus": 1},
}


def attempt_in(folder: Path, name: str, changes: dict[str, Any] | None = None) -> AttemptDir:
    attempt = RunDir(folder / name).attempt(1)
    spec = resolve(parse_spec(SPEC | (changes or {}))).model_dump(mode="json", by_alias=True)
    Task(job_id=name, attempt=1, spec=spec, data_roots=[], device="cpu").write(attempt)
    return attempt


def environment() -> dict[str, str]:
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MARK": "forked"}


def wait_for_success(attempt: AttemptDir) -> None:
    wait_until(lambda: Outcome.read(attempt) is not None, f"the end of {attempt.path}", LIMIT_S)
    outcome = Outcome.read(attempt)
    assert outcome is not None
    assert outcome.kind is OutcomeKind.succeeded, attempt.log.read_text()


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmStarter]:
    """A starter whose warm process is ready; the attempt that started it ran cold."""
    folder = tmp_path_factory.mktemp("warm")
    starter = WarmStarter(folder, "here")
    first = attempt_in(folder, "first")
    starter.start(first, environment())
    wait_for_success(first)
    wait_until(starter._path.exists, "the warm starter", LIMIT_S)
    yield starter
    end(starter)
    assert not starter._path.exists()


def end(starter: WarmStarter) -> None:
    """Ends the warm process, and waits until everything that the starter started has ended."""
    starter.close()
    for process in (starter._process, *starter._cold._children.values()):
        assert process is not None
        process.wait(LIMIT_S)


def weights(attempt: AttemptDir) -> str:
    return str(json.loads(attempt.run.result.read_text())["components"]["expert_0"]["content_sha256"])


def test_a_forked_process_trains_to_the_same_bits_in_a_session_of_its_own(warm: WarmStarter, tmp_path: Path) -> None:
    forked = attempt_in(tmp_path, "forked")
    pid = warm.start(forked, environment())
    process = psutil.Process(pid)
    assert os.getsid(pid) == os.getpgid(pid) == pid
    assert warm._process is not None
    assert process.ppid() == warm._process.pid
    wait_for_success(forked)
    claim = Claim.read(forked)
    assert claim is not None
    assert claim.pid == pid
    assert "expert_0" in forked.log.read_text()
    cold = attempt_in(tmp_path, "cold")
    starter = ColdStarter()
    starter.start(cold, environment())
    wait_for_success(cold)
    assert weights(forked) == weights(cold)
    # Neither stays behind as a zombie.
    wait_until(lambda: not psutil.pid_exists(pid), "the end of the forked process", LIMIT_S)

    def is_reaped() -> bool:
        starter.reap()
        return not starter._children

    wait_until(is_reaped, "the end of the cold process", LIMIT_S)


def test_a_stop_signal_reaches_a_forked_process(warm: WarmStarter, tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path, "stopped")
    # At once: the process may have no handler yet.
    os.kill(warm.start(attempt, environment()), signal.SIGTERM)
    wait_until(lambda: Outcome.read(attempt) is not None, "the outcome", LIMIT_S)
    outcome = Outcome.read(attempt)
    assert outcome is not None
    assert (outcome.kind, outcome.signal) == (OutcomeKind.stopped, "SIGTERM")


def test_an_attempt_is_never_lost_to_a_warm_starter_that_has_died(tmp_path: Path) -> None:
    starter = WarmStarter(tmp_path, "here")
    # A socket that nobody listens on, as after a SIGKILL.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abandoned:
        abandoned.bind(str(starter._path))
    attempt = attempt_in(tmp_path, "first")
    starter.start(attempt, environment())
    try:
        wait_for_success(attempt)
        # The one that died is replaced.
        second = attempt_in(tmp_path, "second")
        wait_until(lambda: starter._fork(second, environment()) is not None, "another warm starter", LIMIT_S)
        wait_for_success(second)
    finally:
        end(starter)


def test_a_warm_process_that_has_imported_other_code_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter = WarmStarter(tmp_path, "here")
    try:
        wait_for_success(started(starter, tmp_path, "first"))
        wait_until(starter._path.exists, "the warm process", LIMIT_S)
        before, address = starter._process, starter._path
        assert before is not None
        monkeypatch.setattr("worker.executors.starters.code_status", lambda packages: "edited")
        # By a process of its own, which imports what is there now.
        wait_for_success(started(starter, tmp_path, "second"))
        before.wait(LIMIT_S)
        assert not address.exists()
        wait_until(starter._path.exists, "the new warm process", LIMIT_S)
        starter.reap()
        assert not starter._retired
    finally:
        end(starter)


def started(starter: WarmStarter, folder: Path, name: str) -> AttemptDir:
    attempt = attempt_in(folder, name)
    starter.start(attempt, environment())
    return attempt
