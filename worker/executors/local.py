"""Training processes on this machine, each in a session of its own: they outlive the worker that started them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from app.db import now
from core.run.rundir import read
from worker.executors.base import Handle, Key, Observation, ProcessState, Submission, TrackedAttempt

ROOT = Path(__file__).parents[2]
# A process that has not said who it is after this long never will.
START_LIMIT_S = 10.0


class LocalExecutor:
    """A process group an attempt; it is known by its pid and the moment it began."""

    cancel_grace_s = 5.0

    def submit(self, order: Submission) -> Sequence[Handle | None]:
        return [self._start(order)]

    def _start(self, order: Submission) -> Handle:
        [run] = order.runs
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        gpus = [device.partition(":")[0] for device in order.devices if not device.startswith("cpu")]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        with run.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker.training.main", str(run.path), str(run.attempt)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _started[process.pid] = process
        return {"pid": process.pid, "started": psutil.Process(process.pid).create_time()}

    def poll(self, attempts: Sequence[TrackedAttempt]) -> dict[Key, Observation]:
        return {watched.key: self._look(watched) for watched in attempts}

    def _look(self, watched: TrackedAttempt) -> Observation:
        handle = watched.attempt.handle
        claim = read(watched.run.claim)
        if claim is not None and (handle is None or handle["pid"] != claim["pid"]):
            # Whoever started it died before it could say so; or this is another process than the one that was started.
            handle = {"pid": claim["pid"], "started": claim["started"]}
        if handle is None:
            return Observation(ProcessState.ended if _given_up(watched) else ProcessState.pending)
        return Observation(ProcessState.alive if self.alive(handle) else ProcessState.ended, handle)

    def alive(self, handle: Handle) -> bool:
        """Whether the process is there."""
        process = _find(handle)
        return process is not None and process.status() != psutil.STATUS_ZOMBIE

    def stop(self, handle: Handle, seen: Observation, *, cancel: bool) -> None:
        _signal(handle, signal.SIGTERM, group=False)

    def kill(self, handle: Handle) -> None:
        _signal(handle, signal.SIGKILL, group=True)

    def flush(self) -> None:
        pass


def _given_up(watched: TrackedAttempt) -> bool:
    """Whether an attempt of which nobody knows a process is given up: the worker may have died while starting it."""
    if (now() - watched.attempt.started_at).total_seconds() < START_LIMIT_S:
        return False
    # With its claim taken, a process that was started all the same, and comes late, goes away again.
    return watched.run.try_claim({"pid": 0, "started": 0.0})


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
