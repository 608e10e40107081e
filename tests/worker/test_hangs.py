"""A process that runs and reports nothing is ended, and only after it was watched for as long as its job allows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.models import State
from core.run.protocol import Outcome, OutcomeKind, Task
from tests.app.api import EXPERT, EventFile, Service
from tests.worker.fake_executor import FakeExecutor, job_of, started
from worker.executors.base import Observation, ProcessState
from worker.hangs import HangDetector
from worker.reconcile import monitor_local


class Clock:
    """The monotonic clock of the worker, which moves only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def watch(self, service: Service, minutes: float) -> None:
        """Lets time pass, with a round of the worker every half minute."""
        for _ in range(round(2 * minutes)):
            self.now += 30.0
            monitor_local(service.context)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("worker.hangs.time", SimpleNamespace(monotonic=made.monotonic))
    return made


def begin(service: Service, **fields: Any) -> tuple[str, int]:
    """A job whose process has been seen once; its id and the pid."""
    job_id = service.submit(EXPERT | fields)
    pid = started(service, job_id)
    monitor_local(service.context)
    return job_id, pid


def attempt_of(service: Service, job_id: str) -> dict[str, Any]:
    return dict(service.get(f"/jobs/{job_id}/attempts").json()["items"][-1])


def test_a_process_that_reports_nothing_is_ended_and_its_job_resumes(
    service: Service, executor: FakeExecutor, clock: Clock
) -> None:
    job_id, pid = begin(service)
    clock.watch(service, 29.5)
    assert executor.killed == []
    clock.watch(service, 0.5)
    assert executor.killed == [pid]
    monitor_local(service.context)
    job = job_of(service, job_id)
    assert (job["state"], job["reason"]) == ("queued", "hang")
    assert (
        job["message"] == "hung: it reported nothing for 30 min and was ended: will resume from its latest checkpoint"
    )
    assert attempt_of(service, job_id)["reason"] == "hang"


def test_a_job_that_hangs_at_the_same_place_three_times_fails(
    service: Service, executor: FakeExecutor, clock: Clock
) -> None:
    job_id = service.submit(EXPERT | {"resources": {"hang_timeout_min": 2}})
    for state in ("queued", "queued", "failed"):
        started(service, job_id)
        monitor_local(service.context)
        clock.watch(service, 2.5)
        assert job_of(service, job_id)["state"] == state
    job = job_of(service, job_id)
    assert job["reason"] == "hang"
    assert "was ended, 3 times in a row without a new checkpoint: see the log, then retry" in job["message"]


def test_any_event_shows_that_a_process_works(service: Service, executor: FakeExecutor, clock: Clock) -> None:
    _, pid = begin(service, resources={"hang_timeout_min": 5})
    events = EventFile(executor.living[pid].events)
    for _ in range(4):
        clock.watch(service, 4)
        events.add("activity", {"phase": "validation"})
    clock.watch(service, 4.5)
    assert executor.killed == []
    clock.watch(service, 1)
    assert executor.killed == [pid]


def test_null_switches_it_off(service: Service, executor: FakeExecutor, clock: Clock) -> None:
    begin(service, resources={"hang_timeout_min": None})
    clock.watch(service, 600)
    assert executor.killed == []


def test_attempts_that_an_earlier_version_started_are_left_alone(
    service: Service, executor: FakeExecutor, clock: Clock
) -> None:
    job_id = service.submit()
    pid = started(service, job_id)
    task = executor.living[pid].task
    assert Task.read(executor.living[pid]) is not None
    task.write_text(task.read_text().replace("hang_timeout_min", "unknown"))
    clock.watch(service, 60)
    assert executor.killed == []


@pytest.mark.parametrize(
    "observed",
    [
        {"state": ProcessState.pending},
        {"state": ProcessState.unknown},
        {"state": ProcessState.alive, "is_suspended": True},
    ],
)
def test_time_in_which_a_process_cannot_report_does_not_count(
    service: Service,
    executor: FakeExecutor,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    observed: dict[str, Any],
) -> None:
    begin(service, resources={"hang_timeout_min": 3})
    clock.watch(service, 1)
    with monkeypatch.context() as patch:
        patch.setattr(executor, "poll", lambda tracked: {one.key: Observation(**observed) for one in tracked})
        clock.watch(service, 100)
    clock.watch(service, 1)
    assert executor.killed == []


def test_time_in_which_no_worker_watched_does_not_count(
    service: Service, executor: FakeExecutor, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(service, resources={"hang_timeout_min": 4})
    clock.watch(service, 1)
    # The worker was stopped for a day, then it was replaced.
    clock.now += 86_400
    clock.watch(service, 1)
    assert executor.killed == []
    object.__setattr__(service.context, "hangs", HangDetector())
    clock.watch(service, 3.5)
    assert executor.killed == []


def test_a_worker_that_is_replaced_after_it_killed_a_process_still_knows_why(
    service: Service, executor: FakeExecutor, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, pid = begin(service, resources={"hang_timeout_min": 1})
    attempt = executor.living[pid]
    monkeypatch.setattr("tests.worker.fake_executor.FakeHandle.kill", lambda handle: executor.killed.append(handle.pid))
    clock.watch(service, 1)
    object.__setattr__(service.context, "hangs", HangDetector())
    monitor_local(service.context)
    assert executor.killed == [pid, pid]
    # What it reports while it is being killed is not why it ended.
    Outcome(OutcomeKind.failed, "code_error", "a data loader was killed").write(attempt)
    del executor.living[pid]
    monitor_local(service.context)
    assert (job_of(service, job_id)["state"], job_of(service, job_id)["reason"]) == ("queued", "hang")


def test_a_process_that_has_reported_its_outcome_has_not_hung(
    service: Service, executor: FakeExecutor, clock: Clock
) -> None:
    _, pid = begin(service)
    Outcome(OutcomeKind.succeeded).write(executor.living[pid])
    clock.watch(service, 60)
    assert executor.killed == []


def test_a_job_that_a_user_stops_is_not_reported_as_hung(
    service: Service, executor: FakeExecutor, clock: Clock
) -> None:
    job_id, pid = begin(service, resources={"hang_timeout_min": 1})
    clock.watch(service, 1)
    assert executor.killed == [pid]
    service.transition(job_id, State.cancelling)
    monitor_local(service.context)
    assert job_of(service, job_id)["state"] == "cancelled"
