"""Training processes and what they have started, by process id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.jobs.capacity import Capacity
from app.models import Attempt, State
from core.run.rundir import RunDir
from tests.parts import wait_until
from worker.executors.base import ProcessState, TrackedAttempt
from worker.executors.local import LocalExecutor
from worker.executors.processes import ProcessHandle

pytestmark = pytest.mark.processes
# Starts a child in its process group, says which, and does nothing.
LEADER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(600)
"""


def leader_and_child(log: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    command = [sys.executable, "-c", LEADER]
    with log.open("ab") as errors:
        leader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
    assert leader.stdout is not None
    return leader, psutil.Process(int(leader.stdout.readline()))


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_what_a_killed_process_has_left_is_killed(tmp_path: Path) -> None:
    ours, other = tmp_path / "attempt-1", tmp_path / "attempt-2"
    for folder in (ours, other):
        folder.mkdir()
    leader, child = leader_and_child(ours / "log.txt")
    with leader:
        handle = ProcessHandle.of(leader.pid)
        # It notices nothing, as a process that is stuck in a driver would not.
        child.send_signal(signal.SIGSTOP)
        leader.kill()
    assert not handle.is_alive()
    assert os.getpgid(child.pid) == handle.pid
    # Another group may have its number: what does not belong to the attempt is left alone.
    handle.kill_remains(other)
    assert not is_gone(child)
    attempt = Attempt(job_id="job", number=1, executor="local", host="here", devices=[], handle=handle.to_json())
    tracked = TrackedAttempt(attempt, RunDir(tmp_path).attempt(1), State.running, None)
    [observed] = LocalExecutor("here", Capacity(("cpu",), 1, 1.0)).poll([tracked]).values()
    assert observed.state is ProcessState.ended
    wait_until(lambda: is_gone(child), "the end of the child")
