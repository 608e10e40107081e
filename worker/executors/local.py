"""Training processes on this machine, each in a session of its own: they outlive the worker that started them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from worker.executors.base import Handle
from worker.rundir import RunDir

ROOT = Path(__file__).parents[2]


class LocalExecutor:
    """A process group an attempt; it is known by its pid and the moment it began."""

    def submit(self, run: RunDir, devices: list[str]) -> Handle:
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        gpus = [device for device in devices if device.isdigit()]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        # Settings and secrets of the service are no business of a training process.
        environment = {key: value for key, value in environment.items() if not key.startswith("MCN_")}
        with run.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker.child", str(run.path), str(run.attempt)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _started[process.pid] = process
        return {"pid": process.pid, "started": psutil.Process(process.pid).create_time()}

    def alive(self, handle: Handle) -> bool:
        process = _find(handle)
        return process is not None and process.status() != psutil.STATUS_ZOMBIE

    def stop(self, handle: Handle) -> None:
        _signal(handle, signal.SIGTERM, group=False)

    def kill(self, handle: Handle) -> None:
        _signal(handle, signal.SIGKILL, group=True)


# Processes that this worker started itself have to be waited for, or they stay as zombies.
_started: dict[int, subprocess.Popen[bytes]] = {}


def _find(handle: Handle) -> psutil.Process | None:
    started = _started.get(handle["pid"])
    if started is not None and started.poll() is not None:
        del _started[handle["pid"]]
    try:
        process = psutil.Process(handle["pid"])
        # A pid is used again; the moment of the start is not.
        return process if abs(process.create_time() - handle["started"]) < 0.5 else None
    except psutil.NoSuchProcess:
        return None


def _signal(handle: Handle, number: signal.Signals, *, group: bool) -> None:
    if _find(handle) is None:
        return
    with contextlib.suppress(ProcessLookupError):
        if group:
            os.killpg(handle["pid"], number)
        else:
            os.kill(handle["pid"], number)
