"""What a worker has at hand: settings, database, its machine's name and devices."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from functools import lru_cache

import psutil
from sqlalchemy import Engine

from app.db import make_engine
from app.settings import Settings
from core.run.rundir import RunDir
from worker.executors.base import Executor
from worker.executors.capacity import Size
from worker.executors.devices import devices_here
from worker.executors.local import LocalExecutor
from worker.executors.slurm.cluster import Cluster, find_cluster
from worker.executors.slurm.executor import SlurmExecutor


@dataclass(frozen=True)
class WorkerContext:
    """One worker's view of the world."""

    settings: Settings
    engine: Engine
    host: str
    devices: tuple[str, ...]
    executors: dict[str, Executor] = field(default_factory=dict)
    slurm: Cluster | None = None

    @property
    def size(self) -> Size:
        """How much there is of it."""
        return Size(self.devices, os.cpu_count() or 1, psutil.virtual_memory().total / 2**30)

    def run(self, job_id: str, attempt: int) -> RunDir:
        """The files of an attempt."""
        return RunDir(self.settings.runs_dir / job_id, attempt)


@lru_cache(maxsize=1)
def worker_context() -> WorkerContext:
    """The machine that this process runs on."""
    return make_context(Settings())


def make_context(settings: Settings) -> WorkerContext:
    """This machine with other settings."""
    settings.make_folders()
    engine = make_engine(settings.sqlalchemy_url)
    executors: dict[str, Executor] = {"local": LocalExecutor()}
    cluster = find_cluster()
    if cluster is not None:
        executors["slurm"] = SlurmExecutor(settings.slurm_dir)
    devices = tuple(devices_here(settings))
    return WorkerContext(settings, engine, socket.gethostname(), devices, executors, cluster)
