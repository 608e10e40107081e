"""A fault: how to cause it at a moment, and how to heal it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.faults.client import Client
from tests.faults.processes import Part
from tests.faults.stack import Form, Stack
from tests.faults.workload import host_of
from tests.parts import wait_until

# How long a job may take to start on a busy machine.
START_LIMIT_S = 120.0
PRIORITY = 50


@dataclass
class Scene:
    """What a fault acts on; `memory` is what its cause leaves for its cure."""

    stack: Stack
    chance: random.Random
    client: Client
    memory: dict[str, Any] = field(default_factory=dict)

    def a_worker(self) -> Part:
        """One of the workers, the same one in cause and cure."""
        if "worker" not in self.memory:
            self.memory["worker"] = self.chance.choice(self.stack.workers)
        worker: Part = self.memory["worker"]
        return worker

    def a_training_process(self, name: str = "long") -> psutil.Process:
        """The process of a job that nobody else knows of, so that it trains for seconds unless a fault ends it."""
        job_id = self.client.submit(name, until=time.monotonic() + START_LIMIT_S, priority=PRIORITY)
        assert job_id is not None, "the job to disturb was not accepted"
        found: list[psutil.Process] = []

        def find() -> bool:
            found.extend(self.stack.training(job_id=job_id))
            return bool(found)

        wait_until(find, "the start of a training process", START_LIMIT_S)
        host = host_of(self.stack.engine, job_id)
        self.memory["worker"] = next(worker for worker in self.stack.workers if worker.name == host)
        return found[0]

    def a_worker_that_trains(self) -> Part:
        """The worker of such a process."""
        self.a_training_process()
        return self.a_worker()

    def pause(self, least_s: float, most_s: float) -> None:
        """Lets a random time pass."""
        time.sleep(self.chance.uniform(least_s, most_s))


def nothing(_scene: Scene) -> None:
    """For faults that end by themselves."""


def restart(scene: Scene) -> None:
    """Starts what does not run and continues what is stopped."""
    scene.stack.heal()


@dataclass(frozen=True)
class Fault:
    """A named fault. It is caused up to `within_s` after the clients began, and lasts for a time in `holds_s`.

    Clients submit `jobs`, half of them once the fault has been caused, and change a job after a request with
    probability `controls`. In a burst they submit all of them at once, so that the moment of the fault is often between
    two steps of a submission. `is_quick` faults are part of `make test`. A fault that `spares_training` must not cost
    an attempt. `lacks` says why a fault cannot be caused on a machine, or None.
    """

    what: str
    cause: Callable[[Scene], None]
    heal: Callable[[Scene], None] = restart
    holds_s: tuple[float, float] = (0.0, 1.5)
    form: Form = Form.production
    within_s: float = 2.0
    jobs: Sequence[str] = ("short", "long", "short")
    is_burst: bool = False
    controls: float = 0.1
    is_quick: bool = False
    clocks_agree: bool = True
    spares_training: bool = True
    lacks: Callable[[Stack], str | None] = lambda _stack: None
    # What must hold besides what always must: checked once all jobs have ended.
    also: Callable[[Scene], Sequence[str]] = lambda _scene: ()
