"""How long a job takes from POST to the end of its first step, and how many short jobs a sweep finishes per minute.

The old way, which stays as the baseline, started every training process cold and initialised its model on the meta
device with random numbers, which imports PyTorch's compiler.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.benchmarks.measures import Row, row
from tests.e2e.running import Running, expert
from tests.parts import wait_until

LIMIT_S = 600.0
ROUNDS = 5
OLD_POINTS = 8
POINTS = 100
# Python imports this module by itself when it starts.
_OLD_WAY = """
import sys
if "worker.training.main" in sys.orig_argv:
    import torch
    torch.nn.init.kaiming_normal_(torch.empty(1, 1, device="meta"))
"""


def rows() -> list[Row]:
    """Every measure, with its target."""
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        (folder / "old").mkdir()
        (folder / "old" / "sitecustomize.py").write_text(_OLD_WAY)
        warm = stack.enter_context(_service(folder / "c"))
        idle, warmed = _idle_memory(warm)
        old = stack.enter_context(_service(folder / "a", MCN_WARM_START="0", PYTHONPATH=str(folder / "old")))
        cold = stack.enter_context(_service(folder / "b", MCN_WARM_START="0"))
        for up in (old, cold, warm):
            _first_step_s(up)
        wait_until(lambda: _has_warm_starter(warm), "the warm starter", LIMIT_S)
        times: dict[str, list[float]] = {"old": [], "cold": [], "warm": []}
        for _ in range(ROUNDS):
            for name, up in (("old", old), ("cold", cold), ("warm", warm)):
                times[name].append(_first_step_s(up))
        old_s, cold_s, warm_s = (statistics.median(times[name]) for name in ("old", "cold", "warm"))
        before, after = _jobs_per_minute(old, OLD_POINTS), _jobs_per_minute(warm, POINTS)
    ratio = cold_s / old_s
    return [
        row("from POST to the end of the first step, the old way", f"{old_s:.2f} s", "", True),
        row("the same, started cold", f"{cold_s:.2f} s = {ratio:.2f} of it", "<= 0.6", ratio <= 0.6),
        row("the same, forked from the warm process", f"{warm_s:.2f} s", "<= 0.7 s", warm_s <= 0.7),
        row("one-epoch digits jobs of a sweep per minute, the old way", f"{before:.0f}", "", True),
        row("the same, warm", f"{after:.0f} = {after / before:.1f} x", ">= 4 x", after >= 4 * before),
        row("memory of the idle service", str(idle), "< 450 MB", idle.mb < 450),
        row("the same with the warm process", str(warmed), "< 900 MB", warmed.mb < 900),
    ]


@contextmanager
def _service(data_dir: Path, **environment: str) -> Iterator[Running]:
    up = Running(data_dir, **environment)
    up.start()
    try:
        yield up
    finally:
        up.stop()


def _first_step_s(up: Running) -> float:
    """Seconds from POST to the first report of progress, which follows the first step."""
    posted_at = time.time()
    job_id = up.submit(expert(epochs=1))
    up.wait(job_id, limit_s=LIMIT_S)
    log = up.settings.runs_dir / job_id / "attempt-1" / "events.jsonl"
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["kind"] in ("progress", "metrics"):
            return datetime.fromisoformat(event["time"]).timestamp() - posted_at
    raise AssertionError(f"{log} has no progress")


def _jobs_per_minute(up: Running, points: int) -> float:
    grid = {"training.seed": list(range(1000, 1000 + points))}
    began = time.monotonic()
    sweep = up.api.post("/sweeps", {"name": "short", "base": expert(epochs=1), "grid": grid})["id"]
    wait_until(lambda: up.api.get(f"/sweeps/{sweep}")["counts"]["succeeded"] == points, "the end of the sweep", LIMIT_S)
    return 60.0 * points / (time.monotonic() - began)


def _has_warm_starter(up: Running) -> bool:
    return any(up.settings.data_dir.glob("warm-*.sock"))


def _idle_memory(up: Running) -> tuple[Memory, Memory]:
    """The memory of a service before its first job, and after it."""
    wait_until(lambda: up.api.get("/cluster")["workers"], "the worker", LIMIT_S)
    idle = _memory(up)
    up.wait(up.submit(expert(epochs=1)), "succeeded")
    wait_until(lambda: _has_warm_starter(up) and not up.training(), "the warm starter alone", LIMIT_S)
    return idle, _memory(up)


class Memory(NamedTuple):
    """Memory of all processes of a service in MB: pages that they share count once, and in `resident_mb` for each."""

    mb: float
    resident_mb: float

    def __str__(self) -> str:
        return f"{self.mb:.0f} MB ({self.resident_mb:.0f} MB resident)"


def _memory(up: Running) -> Memory:
    assert up._process is not None
    root = psutil.Process(up._process.pid)
    own = resident = 0
    shared: dict[str, int] = {}
    for process in [root, *root.children(recursive=True)]:
        for part in process.memory_maps(grouped=True):
            resident += part.rss
            # Pages of files are the same memory in every process, except those that one has changed.
            own += part.private_dirty
            shared[part.path] = max(shared.get(part.path, 0), part.rss - part.private_dirty)
    return Memory((own + sum(shared.values())) / 1e6, resident / 1e6)
