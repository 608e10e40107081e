"""What killed runs of the fault suite leave in memory is removed by the next run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.faults.stack import PREFIX, remove_leftovers
from tests.parts import wait_until

# It has a child that does not name the folder.
PART = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], env={});"
    "print(child.pid, flush=True); child.wait()"
)


@pytest.mark.processes
def test_folders_and_processes_of_dead_runs_are_removed_and_others_stay(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, used = (tmp_path / f"{PREFIX}{pid}-x" for pid in (ended.pid, os.getpid()))
    parts = []
    for folder in (left, used):
        (folder / "data").mkdir(parents=True)
        environment = os.environ | {"MCN_DATA_DIR": str(folder / "data")}
        command = [sys.executable, "-c", PART]
        parts.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    children = [int(part.stdout.readline()) for part in parts if part.stdout]
    try:
        remove_leftovers(tmp_path)
        assert parts[0].wait(60) == -9
        wait_until(lambda: not psutil.pid_exists(children[0]), "the end of the child")
        assert (left.exists(), used.exists(), parts[1].poll()) == (False, True, None)
        assert psutil.pid_exists(children[1])
    finally:
        psutil.Process(children[1]).kill()
        for part in parts:
            part.kill()
            part.communicate()
