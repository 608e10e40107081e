"""Claims, failing starts, and ends, with fake processes that live until a test ends them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import select

from app.db import now, reading, transaction
from app.jobs.capacity import Capacity
from app.models import WORKER_TIMEOUT, Attempt, Job, Lease, State, Worker
from core.run.protocol import Claim, Outcome, OutcomeKind, Task
from core.run.rundir import AttemptDir
from tests.app.api import EXPERT, Service
from worker.attempts import end_attempt
from worker.executors.base import BusyError, Observation, ProcessState, Submission, TrackedAttempt
from worker.executors.local import START_LIMIT_S, LocalExecutor
from worker.executors.processes import ProcessHandle
from worker.reconcile import monitor_local, start_all

SLURM = {"version": "22.05", "reachable": True, "max_array_size": 1001, "partitions": []}


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
        if handle is None:
            return None
        fake = FakeHandle(handle.pid, handle.started_at)
        object.__setattr__(fake, "executor", self)
        return fake


@pytest.fixture
def executor(service: Service, monkeypatch: pytest.MonkeyPatch) -> FakeExecutor:
    made = FakeExecutor(service.context.capacity)
    monkeypatch.setitem(service.context.executors, "local", made)
    return made


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


def test_a_device_is_leased_to_one_job_and_given_back(service: Service, executor: FakeExecutor) -> None:
    first, second = service.submit(), service.submit()
    start_all(service.context)
    start_all(service.context)
    assert [job_of(service, job_id)["state"] for job_id in (first, second)] == ["starting", "queued"]
    assert [lease.job_id for lease in leases(service)] == [first]
    [attempt] = executor.living.values()
    Outcome(OutcomeKind.failed, "no_space", "full").write(attempt)
    executor.living.clear()
    monitor_local(service.context)
    job = job_of(service, first)
    assert (job["state"], job["reason"], job["message"]) == ("failed", "no_space", "full")
    assert leases(service) == []
    start_all(service.context)
    assert job_of(service, second)["state"] == "starting"


@pytest.mark.parametrize(
    ("request_", "outcome", "state", "reason"),
    [
        (None, "stopped", "queued", "preempted"),
        (None, None, "queued", "lost"),
        ("pause", "stopped", "paused", "user"),
        ("pause", None, "paused", "user"),
        ("pause", "failed", "failed", "code_error"),
        ("cancel", "stopped", "cancelled", "user"),
        ("cancel", None, "cancelled", "user"),
        ("cancel", "failed", "cancelled", "user"),
        ("cancel", "succeeded", "succeeded", None),
        ("pause", "succeeded", "succeeded", None),
        (None, "succeeded", "succeeded", None),
    ],
)
def test_the_end_of_an_attempt_means_what_happened_and_what_was_requested(
    service: Service, executor: FakeExecutor, request_: str | None, outcome: str | None, state: str, reason: str | None
) -> None:
    job_id = service.submit()
    pid = started(service, job_id)
    if request_:
        service.post(f"/jobs/{job_id}/{request_}")
        monitor_local(service.context)
        assert executor.stopped == [pid]
    attempt = executor.living.pop(pid)
    if outcome:
        Outcome(OutcomeKind(outcome), "code_error" if outcome == "failed" else None).write(attempt)
    if outcome == "succeeded":
        attempt.run.result.write_text("{}")
    monitor_local(service.context)
    job = job_of(service, job_id)
    assert (job["state"], job["reason"]) == (state, reason)


def test_a_success_without_a_result_is_a_failure(service: Service, executor: FakeExecutor) -> None:
    job_id = service.submit()
    attempt = executor.living.pop(started(service, job_id))
    Outcome(OutcomeKind.succeeded).write(attempt)
    monitor_local(service.context)
    assert job_of(service, job_id)["state"] == "failed"


def test_a_process_that_does_not_stop_is_killed(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "cancel_grace_s", 0.0)
    job_id = service.submit()
    pid = started(service, job_id)
    service.post(f"/jobs/{job_id}/cancel")
    for _ in range(3):
        monitor_local(service.context)
    assert executor.killed == [pid]
    assert job_of(service, job_id)["state"] == "cancelled"


def test_a_worker_that_died_while_starting_a_job_loses_nothing(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.submit()

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(executor, "submit", die)
        with pytest.raises(KeyboardInterrupt):
            start_all(service.context)
    monitor_local(service.context)
    assert job_of(service, job_id)["state"] == "starting"
    with transaction(service.app.state.engine) as session:
        attempt = session.get(Attempt, (job_id, 1))
        assert attempt is not None
        attempt.started_at = now() - timedelta(seconds=START_LIMIT_S + 1)
    monitor_local(service.context)
    assert job_of(service, job_id)["state"] == "queued"
    # If the process was started after all and is late, it must not run.
    assert not Claim(1, 1.0).try_claim(service.context.attempt((job_id, 1)))
    start_all(service.context)
    assert job_of(service, job_id)["attempt"] == 2


def test_a_job_with_more_gpus_than_any_machine_fails_at_once(service: Service, executor: FakeExecutor) -> None:
    job_id = service.submit(EXPERT | {"resources": {"gpus": 1}})
    start_all(service.context)
    job = job_of(service, job_id)
    assert job["state"] == "failed"
    assert (
        "requests 1 GPU, but the machines of this service have none: change resources.gpus, then retry"
        in job["message"]
    )
    larger = Worker(host="there", devices=["0", "1"], cpus=2, memory_gb=8, seen_at=now())
    with transaction(service.app.state.engine) as session:
        session.add(larger)
    job_id, small = service.submit(EXPERT | {"resources": {"gpus": 3}}), service.submit()
    start_all(service.context)
    assert job_of(service, small)["state"] == "starting"
    assert "requests 3 GPUs, but the machines of this service have at most 2" in job_of(service, job_id)["message"]


def test_a_job_for_a_larger_machine_is_left_to_it(service: Service, executor: FakeExecutor) -> None:
    large, small = (service.submit(EXPERT | {"resources": {"gpus": gpus}}) for gpus in (3, 0))
    larger = Worker(host="there", devices=["0", "1", "2"], cpus=2, memory_gb=8, seen_at=now())
    with transaction(service.app.state.engine) as session:
        session.add(larger)
    start_all(service.context)
    assert [job_of(service, job_id)["state"] for job_id in (large, small)] == ["queued", "starting"]
    # A worker that is offline cannot start it.
    executor.living.clear()
    with transaction(service.app.state.engine) as session:
        session.execute(update(Worker).values(seen_at=now() - WORKER_TIMEOUT))
    monitor_local(service.context)
    start_all(service.context)
    assert job_of(service, large)["state"] == "failed"


def test_a_lost_process_is_replaced_until_it_has_been_lost_too_often(service: Service, executor: FakeExecutor) -> None:
    job_id = service.submit(EXPERT | {"max_attempts": 2})
    for number, state in ((1, "queued"), (2, "failed")):
        executor.living.pop(started(service, job_id))
        monitor_local(service.context)
        job = job_of(service, job_id)
        assert (job["state"], job["reason"], job["attempt"]) == (state, "lost", number)
        # A second process that is started late for the attempt must not run.
        assert not Claim(1, 1.0).try_claim(service.context.attempt((job_id, number)))
    assert service.post(f"/jobs/{job_id}/retry").status_code == 202
    with reading(service.app.state.engine) as session:
        row = session.get(Job, job_id)
        assert row is not None
        assert row.failures == 0


def test_a_fault_on_one_of_several_nodes_is_recorded_for_that_node_alone(
    service: Service, executor: FakeExecutor
) -> None:
    job_id = service.submit(EXPERT)
    pid = started(service, job_id)
    with transaction(service.app.state.engine) as session:
        session.execute(update(Attempt).values(executor="slurm", host="n1,n2"))
        session.add(Worker(host="login", devices=[], cpus=2, memory_gb=8, seen_at=now(), slurm=SLURM))
    two = {row["node"]: row["attempts"] for row in service.get("/cluster").json()["slurm"]["nodes"]}
    assert two == {"n1": 1, "n2": 1}
    with reading(service.app.state.engine) as session:
        attempt = session.get_one(Attempt, (job_id, 1))
    outcome = Outcome(OutcomeKind.failed, "hardware_fault", "the device failed", host="n2")
    attempt_dir = service.context.attempt((job_id, 1))
    end_attempt(service.context, executor, attempt, attempt_dir, outcome, Observation(ProcessState.ended))
    del executor.living[pid]
    [row] = service.get("/cluster").json()["slurm"]["nodes"]
    assert (row["node"], row["hardware_faults"]) == ("n2", 1)


def test_a_busy_executor_leaves_a_job_as_if_it_had_not_been_claimed(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.submit()

    def refuse(*_: Any) -> None:
        raise BusyError("the queue is full")

    with monkeypatch.context() as patch:
        patch.setattr(executor, "submit", refuse)
        start_all(service.context)
    job = job_of(service, job_id)
    assert (job["state"], job["attempt"]) == ("queued", 0)
    assert job["message"] == "the queue is full: will be submitted again"
    assert service.get(f"/jobs/{job_id}/attempts").json()["items"] == []
    assert leases(service) == []
    start_all(service.context)
    assert (job_of(service, job_id)["state"], job_of(service, job_id)["attempt"]) == ("starting", 1)


def test_a_local_job_is_stopped_before_its_time_limit_and_resumes(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.submit(EXPERT | {"resources": {"time_limit_min": 10}})
    pid = started(service, job_id)
    task = Task.read(executor.living[pid])
    assert task is not None
    assert (task.time_limit_min, task.lead_s) == (10, 60)
    monitor_local(service.context)
    assert executor.stopped == []
    began, real = time.time(), time.time
    monkeypatch.setattr(time, "time", lambda: real() + 9 * 60 + 1)
    monitor_local(service.context)
    assert executor.stopped == [pid]
    attempt = executor.living.pop(pid)
    stopped = {"signal": "SIGTERM", "stopped_at": began + 9 * 60 + 2, "started_at": began, "lead_s": 60.0}
    Outcome(OutcomeKind.stopped, step=7, **stopped).write(attempt)  # type: ignore[arg-type]
    monitor_local(service.context)
    job = job_of(service, job_id)
    assert (job["state"], job["reason"]) == ("queued", "time_limit")
    assert job["message"] == "reached its time limit: will resume from its latest checkpoint"


def test_a_local_job_that_ignores_its_time_limit_is_killed(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.submit(EXPERT | {"resources": {"time_limit_min": 1}, "max_attempts": 1})
    pid = started(service, job_id)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 61)
    monitor_local(service.context)
    assert executor.killed == [pid]
    monitor_local(service.context)
    job = job_of(service, job_id)
    assert (job["state"], job["reason"]) == ("failed", "time_limit")
    assert "resources.time_limit_min" in job["message"]
