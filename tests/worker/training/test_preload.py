"""A process that has preloaded runs the code that it has imported, and starts as fast as one that imports less."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import core

ROOT = Path(__file__).parents[3]
PROGRAM = """
import json, os, sys
from worker.training.preload import preload
preload()
print(json.dumps([sorted(sys.modules), len(os.listdir("/proc/self/task"))]))
"""


@pytest.mark.processes
def test_everything_that_may_run_is_imported_and_nothing_that_takes_long() -> None:
    output = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, check=True, capture_output=True).stdout
    imported, threads = json.loads(output)
    modules = {module.name for module in pkgutil.walk_packages(core.__path__, "core.")}
    assert modules - set(imported) == {"core.__main__"}
    # These take seconds, and few jobs need them.
    assert {"torch._dynamo", "torchvision", "timm", "sklearn"}.isdisjoint(imported)
    # A process with threads cannot be forked.
    assert threads == 1
