"""What killed runs of the fault suite leave in memory is removed by the next run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.stack import PREFIX, remove_leftovers


@pytest.mark.processes
def test_folders_and_processes_of_dead_runs_are_removed_and_others_stay(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, used = (tmp_path / f"{PREFIX}{pid}-x" for pid in (ended.pid, os.getpid()))
    parts = []
    for folder in (left, used):
        (folder / "data").mkdir(parents=True)
        environment = os.environ | {"MCN_DATA_DIR": str(folder / "data")}
        parts.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=environment))
    try:
        remove_leftovers(tmp_path)
        assert parts[0].wait(60) == -9
        assert (left.exists(), used.exists(), parts[1].poll()) == (False, True, None)
    finally:
        for part in parts:
            part.kill()
            part.wait()
