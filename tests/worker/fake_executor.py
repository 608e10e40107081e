"""An executor whose processes live until a test ends them, and the jobs that it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import select

from app.db import reading
from app.jobs.capacity import Capacity
from app.models import Attempt, Lease, State
from core.run.rundir import AttemptDir
from tests.app.api import Service
from worker.executors.base import Submission, TrackedAttempt
from worker.executors.local import LocalExecutor
from worker.executors.processes import ProcessHandle
from worker.reconcile import start_all


class FakeHandle(ProcessHandle):
    """A process that is alive while it is in the executor's list."""

    executor: FakeExecutor

    def is_alive(self) -> bool:
        return self.pid in self.executor.living

    def stop(self, *, cancel: bool = False) -> None:
        self.executor.stopped.append(self.pid)

    def kill(self) -> None:
        self.executor.killed.append(self.pid)
        self.executor.living.pop(self.pid, None)


class FakeExecutor(LocalExecutor):
    """An executor whose processes live until a test ends them."""

    def __init__(self, capacity: Capacity) -> None:
        super().__init__("here", capacity)
        self.living: dict[int, AttemptDir] = {}
        self.stopped: list[int] = []
        self.killed: list[int] = []

    def submit(self, submission: Submission, attempts: Sequence[AttemptDir]) -> list[ProcessHandle]:
        pid = 1000 + len(self.living)
        [self.living[pid]] = attempts
        return [ProcessHandle(pid, 1.0)]

    def _handle(self, tracked: TrackedAttempt) -> ProcessHandle | None:
        handle = super()._handle(tracked)
        return None if handle is None else self._restored(handle.to_json())

    def _restored(self, stored: dict[str, Any]) -> ProcessHandle:
        handle = ProcessHandle.from_json(stored)
        fake = FakeHandle(handle.pid, handle.started_at)
        object.__setattr__(fake, "executor", self)
        return fake


def job_of(service: Service, job_id: str) -> dict[str, Any]:
    return dict(service.get(f"/jobs/{job_id}").json())


def started(service: Service, job_id: str) -> int:
    """Starts the next job, moves it to running, and returns the pid of its process."""
    start_all(service.context)
    service.transition(job_id, State.running)
    with reading(service.app.state.engine) as session:
        query = select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number.desc())  # type: ignore[attr-defined]
        handle = session.exec(query).first().handle  # type: ignore[union-attr]
    assert handle is not None
    return int(handle["pid"])


def leases(service: Service) -> list[Lease]:
    with reading(service.app.state.engine) as session:
        return list(session.exec(select(Lease)))
