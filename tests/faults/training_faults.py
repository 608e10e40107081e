"""Faults of training processes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence

import psutil

from core.run.rundir import AttemptDir, RunDir
from tests.faults.fault import START_LIMIT_S, Fault, Scene, nothing
from tests.faults.processes import has_ended, send
from tests.faults.stack import Form
from tests.parts import wait_until

# A stopped process ends by no signal but SIGKILL; a cancelled one gets that after five seconds.
CANCEL_LIMIT_S = 30.0
LOG_BYTES = 1 << 30
LOG_ANSWER_LIMIT_S = 5.0


def kill(scene: Scene) -> None:
    process = scene.a_training_process()
    scene.pause(0.0, 1.5)
    send(signal.SIGKILL, [process])


def _helpers(scene: Scene, *, readers: bool) -> list[psutil.Process]:
    """The children of training processes, once there are any; or theirs, which read images."""
    found: list[psutil.Process] = []

    def exist() -> bool:
        for process in scene.stack.training():
            with contextlib.suppress(psutil.NoSuchProcess):
                children = process.children()
                found.extend([reader for child in children for reader in child.children()] if readers else children)
        return bool(found)

    wait_until(exist, "the start of a process that reads images", START_LIMIT_S)
    return found


def kill_parent(scene: Scene) -> None:
    """Kills a training process whose child does not notice that, as one that is stuck in a driver would not."""
    scene.memory["children"] = found = _helpers(scene, readers=False)
    parents = [child.parent() for child in found]
    send(signal.SIGSTOP, found)
    send(signal.SIGKILL, [parent for parent in parents if parent is not None])


def kill_reader(scene: Scene) -> None:
    """Kills a process that reads images for a job, and not the one that trains."""
    found = _helpers(scene, readers=True)
    scene.pause(0.0, 0.2)
    send(signal.SIGKILL, found)


def no_children(scene: Scene) -> Sequence[str]:
    children: list[psutil.Process] = scene.memory["children"]
    return [f"process {child.pid} of an attempt that has ended is left" for child in children if child.is_running()]


def stop(scene: Scene) -> None:
    scene.memory["process"] = process = scene.a_training_process()
    scene.pause(0.0, 1.0)
    send(signal.SIGSTOP, [process])


def proceed(scene: Scene) -> None:
    send(signal.SIGCONT, [scene.memory["process"]])


def hang(scene: Scene) -> None:
    scene.memory["process"] = process = scene.a_training_process("impatient")
    scene.pause(0.0, 1.0)
    send(signal.SIGSTOP, [process])


def was_ended_for_hanging(scene: Scene) -> Sequence[str]:
    process: psutil.Process = scene.memory["process"]
    return [f"process {process.pid}, which hangs, has not been ended"] if process.is_running() else []


def cancel_deaf(scene: Scene) -> None:
    """Cancels a job whose process does not react, and waits until it is gone."""
    process = scene.a_training_process()
    send(signal.SIGSTOP, [process])
    job_id = _job_of(scene, process)
    if job_id is None:
        return
    deadline = time.monotonic() + CANCEL_LIMIT_S
    while scene.client.send("POST", f"/jobs/{job_id}/cancel").status in (0, 503) and time.monotonic() < deadline:
        pass
    wait_until(lambda: has_ended(process), "the end of a cancelled process that does not react", CANCEL_LIMIT_S)


def write_much(scene: Scene) -> None:
    """The log of a running job grows by a gigabyte, most of which takes no disk."""
    process = scene.a_training_process()
    attempt = _attempt_of(scene, process)
    if attempt is None:
        return
    scene.memory["log"] = attempt
    with attempt.log.open("ab") as log:
        os.truncate(log.fileno(), attempt.log.stat().st_size + LOG_BYTES)
        log.write(b"\nthe end of a gigabyte\n")
    began = time.monotonic()
    for path in ("logs", "logs?tail=1000", f"logs?at={LOG_BYTES // 2}", "logs/search?q=gigabyte"):
        scene.client.send("GET", f"/jobs/{attempt.run.path.name}/{path}")
    scene.memory["log_s"] = time.monotonic() - began
    if scene.chance.random() < 0.5:
        # The message of a lost attempt has the end of its log.
        send(signal.SIGKILL, [process])


def shrink_log(scene: Scene) -> None:
    attempt: AttemptDir | None = scene.memory.get("log")
    if attempt is not None:
        os.truncate(attempt.log, 0)


def log_was_quick(scene: Scene) -> Sequence[str]:
    took_s = scene.memory.get("log_s", 0.0)
    return [f"reading the log took {took_s:.1f} s"] if took_s > 4 * LOG_ANSWER_LIMIT_S else []


def _attempt_of(scene: Scene, process: psutil.Process) -> AttemptDir | None:
    for file in scene.stack.settings.runs_dir.glob("*/attempt-*/process.json"):
        if f'"pid": {process.pid},' in file.read_text():
            number = int(file.parent.name.removeprefix("attempt-"))
            return RunDir(file.parent.parent).attempt(number)
    return None


def _job_of(scene: Scene, process: psutil.Process) -> str | None:
    attempt = _attempt_of(scene, process)
    return attempt.run.path.name if attempt else None


TRAINING_FAULTS: dict[str, Fault] = {
    "training-killed": Fault(
        "SIGKILL of a training process at some step", kill, nothing, is_quick=True, spares_training=False
    ),
    "training-killed-embedded": Fault("the same, embedded", kill, nothing, form=Form.embedded, spares_training=False),
    "training-killed-with-child": Fault(
        "SIGKILL of a training process whose child does not notice",
        kill_parent,
        nothing,
        jobs=("streamed", "short"),
        controls=0.0,
        also=no_children,
        spares_training=False,
    ),
    "reader-killed": Fault(
        "SIGKILL of a process that reads images for a training process",
        kill_reader,
        nothing,
        jobs=("streamed", "short"),
        controls=0.0,
        spares_training=False,
    ),
    "training-hangs": Fault(
        "a training process stands still for longer than its hang_timeout_min",
        hang,
        nothing,
        holds_s=(75.0, 80.0),
        also=was_ended_for_hanging,
        spares_training=False,
    ),
    "training-stopped": Fault("a training process stands still for seconds", stop, proceed, holds_s=(1.0, 6.0)),
    "training-deaf": Fault(
        "a cancelled process does not react to SIGTERM",
        cancel_deaf,
        nothing,
        controls=0.0,
        is_quick=True,
        spares_training=False,
    ),
    "training-diverges": Fault(
        "a loss is not finite", nothing, nothing, jobs=("diverging", "short", "diverging"), controls=0.0, is_quick=True
    ),
    "log-of-a-gigabyte": Fault(
        "a job writes a gigabyte of output",
        write_much,
        shrink_log,
        controls=0.0,
        also=log_was_quick,
        spares_training=False,
    ),
}
