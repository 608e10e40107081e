"""Faults of workers, of whole machines, and of the process that forks training processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from tests.faults.fault import START_LIMIT_S, Fault, Scene, nothing, restart
from tests.faults.processes import Part, send
from tests.faults.stack import LOST_S, Form, Stack
from tests.machine import find
from tests.parts import wait_until

# A worker counts as offline after 30 s; then its jobs are given up on.
PAST_LEASE_S = 30.0 + LOST_S
LIBFAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


def kill(scene: Scene) -> None:
    scene.a_worker().kill()


def kill_busy(scene: Scene) -> None:
    scene.a_worker_that_trains()
    scene.pause(0.0, 1.0)
    scene.a_worker().kill()


def terminate(scene: Scene) -> None:
    scene.a_worker_that_trains().terminate()


def kill_at_start(scene: Scene) -> None:
    """Kills the workers between their claim of a job and the record of its process, as often as chance has it."""
    runs = scene.stack.settings.runs_dir
    known = set(runs.glob("*/attempt-*"))

    def has_claimed() -> bool:
        return bool(set(runs.glob("*/attempt-*")) - known)

    # Looks more often than `wait_until`: what is to be hit takes some milliseconds.
    deadline = time.monotonic() + START_LIMIT_S
    while not has_claimed() and time.monotonic() < deadline:
        time.sleep(0.001)
    scene.pause(0.0, 0.05)
    for worker in scene.stack.workers:
        worker.kill()


def lose_machine(scene: Scene) -> None:
    """A machine dies with all that it runs."""
    worker = scene.a_worker_that_trains()
    processes = scene.stack.training(worker)
    worker.kill()
    send(signal.SIGKILL, processes)


def freeze_machine(scene: Scene) -> None:
    """A machine stands still for longer than its jobs wait for it, and then comes back."""
    worker = scene.a_worker_that_trains()
    scene.memory["frozen"] = processes = scene.stack.training(worker)
    worker.stop()
    send(signal.SIGSTOP, processes)


def thaw_machine(scene: Scene) -> None:
    send(signal.SIGCONT, scene.memory.get("frozen", []))
    restart(scene)


def freeze_worker(scene: Scene) -> None:
    """Only the worker stands still; what it has started trains on."""
    scene.a_worker_that_trains().stop()


def add_second(scene: Scene) -> None:
    """A second worker of the same name: both look after the same jobs."""
    worker = scene.a_worker()
    second = Part(f"second {worker.name}", worker.command, worker.environment, worker.log.with_suffix(".2.log"))
    second.start()
    scene.memory["second"] = second


def kill_second(scene: Scene) -> None:
    second: Part = scene.memory["second"]
    second.kill()


def shift_clock(scene: Scene) -> None:
    """Restarts a worker on a machine whose clock is an hour off."""
    worker = scene.a_worker()
    worker.kill()
    hour = scene.chance.choice(["+1h", "-1h"])
    worker.start(LD_PRELOAD=LIBFAKETIME, FAKETIME=hour, DONT_FAKE_MONOTONIC="1", FAKETIME_DONT_RESET="1")


def set_clock_right(scene: Scene) -> None:
    scene.a_worker().kill()
    restart(scene)


def no_faketime(_stack: Stack) -> str | None:
    return None if find("faketime") else "libfaketime is not installed (Debian: faketime)"


def kill_starters(scene: Scene) -> None:
    send(signal.SIGKILL, scene.stack.starters())


def stop_starters(scene: Scene) -> None:
    scene.memory["starters"] = scene.stack.starters()
    send(signal.SIGSTOP, scene.memory["starters"])


def continue_starters(scene: Scene) -> None:
    send(signal.SIGCONT, scene.memory.get("starters", []))


def kill_everything(scene: Scene) -> None:
    """As a power cut would: nothing is left but files."""
    stack = scene.stack
    processes = [*stack.training(), *stack.starters()]
    for part in (*stack.workers, stack.api, stack.redis, stack.postgres):
        if part is not None:
            part.kill()
    send(signal.SIGKILL, processes)


def taken_over(scene: Scene) -> Sequence[str]:
    """Nothing of a machine that was given up on may be left."""
    frozen = [process.pid for process in scene.memory.get("frozen", []) if process.is_running()]

    def is_gone() -> bool:
        return not any(process.pid in frozen for process in scene.stack.training())

    wait_until(is_gone, "the end of the processes of the machine that came back", START_LIMIT_S)
    return ()


WORKER_FAULTS: dict[str, Fault] = {
    "worker-killed": Fault("SIGKILL of a worker that trains", kill_busy, is_quick=True),
    "worker-killed-embedded": Fault("SIGKILL of the worker", kill, form=Form.embedded),
    "worker-terminated": Fault("SIGTERM of a worker that trains", terminate),
    "workers-killed-at-start": Fault(
        "SIGKILL of all workers while they start a process",
        kill_at_start,
        within_s=0.0,
        is_quick=True,
        spares_training=False,
    ),
    "worker-stopped": Fault(
        "a worker stands still for longer than it may", freeze_worker, holds_s=(PAST_LEASE_S, PAST_LEASE_S + 15)
    ),
    "machine-stopped": Fault(
        "a machine stands still until others take over, and comes back",
        freeze_machine,
        thaw_machine,
        holds_s=(PAST_LEASE_S, PAST_LEASE_S + 15),
        also=taken_over,
        spares_training=False,
    ),
    "machine-lost": Fault(
        "a machine dies, and comes back after others took over",
        lose_machine,
        holds_s=(PAST_LEASE_S, PAST_LEASE_S + 15),
        spares_training=False,
    ),
    "machine-killed": Fault("a machine dies and is back at once", lose_machine, spares_training=False),
    "two-reconcilers": Fault(
        "two workers have the same name", add_second, kill_second, holds_s=(2.0, 6.0), controls=0.3
    ),
    "clock-an-hour-off": Fault(
        "the clock of a machine is an hour off",
        shift_clock,
        set_clock_right,
        holds_s=(4.0, 10.0),
        lacks=no_faketime,
        clocks_agree=False,
        spares_training=False,
    ),
    "starter-killed": Fault("SIGKILL of the processes that fork", kill_starters, nothing),
    "starter-stopped": Fault("they stand still for seconds", stop_starters, continue_starters, holds_s=(1.0, 8.0)),
    "everything-killed": Fault("SIGKILL of every process", kill_everything, spares_training=False),
    "everything-killed-embedded": Fault(
        "the same, embedded", kill_everything, form=Form.embedded, spares_training=False
    ),
}
