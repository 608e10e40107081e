"""What a worker works with: settings, database, the name and capacity of its machine, and its executors."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache

import psutil
from sqlalchemy import Engine

from app.db import make_engine
from app.jobs.capacity import Capacity
from app.jobs.webhook_queries import subscribe
from app.models import State
from app.settings import Settings
from core.run.environment import device_keys
from core.run.rundir import AttemptDir, RunDir
from worker.executors.base import Executor
from worker.executors.devices import find_devices
from worker.executors.table import available_executors
from worker.hangs import HangDetector
from worker.queries import AttemptKey
from worker.start_gate import StartGate
from worker.stored_bytes import SizeBacklog
from worker.timings import Timings


@dataclass(frozen=True)
class WorkerContext:
    """One worker. `executors` are those that work on this machine, by their names in `resources.executor`."""

    settings: Settings
    engine: Engine
    host: str
    capacity: Capacity
    executors: dict[str, Executor]
    # The devices of this machine by keys that are equal for equal devices (see app/jobs/reuse.py).
    device_keys: dict[str, list[str]] = field(default_factory=dict)
    # The executors that had attempts when they were last checked, or have started some since.
    active: set[str] = field(default_factory=set)
    # By attempt of a worker that is not heard from, the size of its event log and since when it has had that.
    last_news: dict[AttemptKey, tuple[int, float]] = field(default_factory=dict)
    # By attempt, the stop request that was passed on to its process, and when the process is killed if it ignores it.
    stop_requests: dict[AttemptKey, tuple[State, float]] = field(default_factory=dict)
    hangs: HangDetector = field(default_factory=HangDetector)
    timings: Timings = field(default_factory=Timings)
    size_backlog: SizeBacklog = field(default_factory=SizeBacklog)
    start_gate: StartGate = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "start_gate", StartGate(self.settings))

    def run(self, job_id: str) -> RunDir:
        """The files of a job."""
        return RunDir(self.settings.runs_dir / job_id)

    def attempt(self, key: AttemptKey) -> AttemptDir:
        """The files of an attempt."""
        job_id, number = key
        return self.run(job_id).attempt(number)


@lru_cache(maxsize=1)
def worker_context() -> WorkerContext:
    """The worker of this process."""
    return make_context(Settings())


def make_context(settings: Settings) -> WorkerContext:
    """A worker on this machine with these settings."""
    settings.make_folders()
    host = settings.worker_host
    memory_gib = psutil.virtual_memory().total / 2**30
    capacity = Capacity(tuple(find_devices(settings)), os.cpu_count() or 1, memory_gib)
    executors = available_executors(settings, host, capacity)
    keys = device_keys(cpu_only=all(name.startswith("cpu") for name in capacity.devices))
    engine = make_engine(settings.sqlalchemy_url)
    subscribe(engine, settings)
    return WorkerContext(settings, engine, host, capacity, executors, keys)
