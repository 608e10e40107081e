"""Jobs of a worker that never comes back go on elsewhere, once nothing is heard from their processes either."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from app.db import now, reading, transaction
from app.models import Attempt, Worker
from core.run.protocol import Claim, Outcome, OutcomeKind
from tests.app.api import EventFile, Service
from tests.worker.fake_executor import FakeExecutor, job_of, leases, started
from worker import lost_workers
from worker.context import WorkerContext
from worker.reconcile import heartbeat, reconcile_local


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of the machine that looks, in minutes."""
    minutes = [0.0]
    monkeypatch.setattr("worker.lost_workers.time.monotonic", lambda: 60.0 * minutes[0])
    return minutes


@pytest.fixture
def other(service: Service) -> WorkerContext:
    """A worker of another machine."""
    executor = FakeExecutor(service.context.capacity)
    executor._host = "there"
    return WorkerContext(
        service.settings, service.app.state.engine, "there", service.context.capacity, {"local": executor}
    )


def silence(service: Service, minutes: float) -> None:
    """The worker of this machine was last heard from so long ago."""
    with transaction(service.app.state.engine) as session:
        session.execute(update(Worker).where(Worker.host == "here").values(seen_at=now() - timedelta(minutes=minutes)))  # type: ignore[arg-type]


def events_of(service: Service, job_id: str) -> EventFile:
    return EventFile(Path(service.settings.runs_dir / job_id / "attempt-1" / "events.jsonl"))


def running(service: Service) -> tuple[str, int]:
    job_id = service.submit()
    heartbeat(service.context)
    return job_id, started(service, job_id)


def test_a_job_goes_on_elsewhere_once_neither_worker_nor_process_is_heard_from(
    service: Service, executor: FakeExecutor, other: WorkerContext, clock: list[float]
) -> None:
    job_id, pid = running(service)
    events = events_of(service, job_id)
    events.add("progress", {"step": 1, "steps": 100})
    # The worker is silent for an hour, and its process reports.
    silence(service, 60)
    for clock[0] in (1.0, 5.0, 9.0):
        assert lost_workers.end_lost_attempts(other) == 0
        events.add("progress", {"step": int(clock[0]) + 1, "steps": 100})
    # The process is silent too, but the worker is back.
    assert lost_workers.end_lost_attempts(other) == 0
    clock[0] = 30.0
    silence(service, 0)
    assert lost_workers.end_lost_attempts(other) == 0
    # Both are silent.
    silence(service, 4)
    assert lost_workers.end_lost_attempts(other) == 0
    clock[0] = 36.0
    assert lost_workers.end_lost_attempts(other) == 0
    silence(service, 6)
    assert lost_workers.end_lost_attempts(other) == 1
    job = job_of(service, job_id)
    assert (job["state"], job["reason"], job["attempt"]) == ("queued", "node_failure", 1)
    assert "the worker on here was lost" in job["message"]
    assert leases(service) == []
    # What it had reported is kept, and a process that starts late finds the attempt claimed.
    assert job["progress"]["step"] == 10
    assert not Claim(1, 1.0).try_claim(service.context.attempt((job_id, 1)))
    # It goes on there; the old worker comes back, kills what is left, and changes nothing.
    reconcile_local(other)
    reconcile_local(service.context)
    assert executor.killed == [pid]
    job = job_of(service, job_id)
    assert (job["state"], job["attempt"]) == ("starting", 2)
    with reading(service.app.state.engine) as session:
        hosts = [session.get(Attempt, (job_id, number)).host for number in (1, 2)]  # type: ignore[union-attr]
    assert hosts == ["here", "there"]


@pytest.mark.parametrize("silent_min", [0.0, 1.0])
def test_a_cancelled_job_of_a_worker_that_is_offline_ends_at_once(
    service: Service, executor: FakeExecutor, other: WorkerContext, silent_min: float
) -> None:
    job_id, _ = running(service)
    service.post(f"/jobs/{job_id}/cancel")
    silence(service, silent_min)
    assert lost_workers.end_lost_attempts(other) == bool(silent_min)
    assert job_of(service, job_id)["state"] == ("cancelled" if silent_min else "cancelling")


def test_a_process_that_outlived_its_worker_ends_as_it_reported(
    service: Service, executor: FakeExecutor, other: WorkerContext
) -> None:
    job_id, _ = running(service)
    attempt = service.context.attempt((job_id, 1))
    Outcome(OutcomeKind.succeeded).write(attempt)
    attempt.run.result.write_text("{}")
    silence(service, 1)
    assert lost_workers.end_lost_attempts(other) == 1
    assert job_of(service, job_id)["state"] == "succeeded"


def test_the_rule_is_explained(service: Service, executor: FakeExecutor, other: WorkerContext) -> None:
    job_id, _ = running(service)
    assert "another worker" not in str(service.get(f"/jobs/{job_id}/explain").json())
    silence(service, 2)
    assert "No other worker is there" in str(service.get(f"/jobs/{job_id}/explain").json())
    heartbeat(other)
    evidence = service.get(f"/jobs/{job_id}/explain").json()["evidence"]
    assert "another worker takes the job over after about 5 min" in evidence[-1]
