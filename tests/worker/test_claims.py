"""From queued to started: who gets a device, and that no job is lost when its start fails."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from app.db import now, transaction
from app.models import WORKER_TIMEOUT, Attempt, Worker
from core.run.protocol import Claim, Outcome, OutcomeKind
from tests.app.api import EXPERT, Service
from tests.worker.fake_executor import FakeExecutor, job_of, leases
from worker.executors.base import BusyError
from worker.executors.local import START_LIMIT_S
from worker.reconcile import monitor_local, start_all


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
