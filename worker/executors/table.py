"""The executors, by their names in `resources.executor`."""

from __future__ import annotations

from collections.abc import Callable

from app.jobs.capacity import Capacity
from app.settings import Settings
from worker.executors.base import Executor
from worker.executors.local import LocalExecutor
from worker.executors.slurm.executor import SlurmExecutor
from worker.executors.starters import make_starter

Factory = Callable[[Settings, str, Capacity], Executor | None]

EXECUTORS: dict[str, Factory] = {
    "local": lambda settings, host, capacity: LocalExecutor(host, capacity, make_starter(settings, host)),
    "slurm": lambda settings, host, capacity: SlurmExecutor.find(settings, host),
}


def available_executors(settings: Settings, host: str, capacity: Capacity) -> dict[str, Executor]:
    """The executors that work on this machine."""
    made = {name: factory(settings, host, capacity) for name, factory in EXECUTORS.items()}
    return {name: executor for name, executor in made.items() if executor is not None}
