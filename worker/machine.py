"""What a worker has at hand: settings, database, its machine's name and devices."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Engine

from app.db import make_engine
from app.settings import Settings
from worker.devices import devices_here
from worker.executors.base import Executor
from worker.executors.local import LocalExecutor
from worker.rundir import RunDir


@dataclass(frozen=True)
class Machine:
    """One worker's view of the world."""

    settings: Settings
    engine: Engine
    host: str
    devices: tuple[str, ...]

    def run(self, job_id: str, attempt: int) -> RunDir:
        """The files of an attempt."""
        return RunDir(self.settings.runs_dir / job_id, attempt)


EXECUTORS: dict[str, Executor] = {"local": LocalExecutor()}


@lru_cache(maxsize=1)
def this_machine() -> Machine:
    """The machine that this process runs on."""
    settings = Settings()
    settings.make_folders()
    engine = make_engine(settings.sqlalchemy_url)
    return Machine(settings, engine, socket.gethostname(), tuple(devices_here(settings)))
