"""No job starts beyond the quota of its owner, and the jobs of others overtake it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlmodel import Session, col, select

from app.db import now, reading, transaction
from app.jobs import quotas
from app.jobs.capacity import Capacity
from app.jobs.device_time import bounds, month_of
from app.models import Attempt, DeviceTime, Job, Quota, State
from app.settings import Settings
from core.run.protocol import Outcome, OutcomeKind
from tests.app.api import EXPERT, Service
from tests.app.fixtures import service_on
from tests.worker.fake_executor import FakeExecutor, job_of
from worker import queries
from worker.executors.slurm.batching import next_batch
from worker.executors.slurm.cluster import Cluster
from worker.reconcile import monitor_local, start_all

DEVICES = ("cpu:0", "cpu:1", "cpu:2", "cpu:3")


@pytest.fixture
def executor(service: Service, monkeypatch: pytest.MonkeyPatch) -> FakeExecutor:
    made = FakeExecutor(Capacity(DEVICES, 8, 8.0))
    monkeypatch.setitem(service.context.executors, "local", made)
    return made


def put(service: Service, *rows: Quota | DeviceTime) -> None:
    with transaction(service.app.state.engine) as session:
        for row in rows:
            session.merge(row)


def states(service: Service, job_ids: list[str]) -> list[str]:
    start_all(service.context)
    return [job_of(service, job_id)["state"] for job_id in job_ids]


def end(service: Service, executor: FakeExecutor, job_id: str) -> None:
    [pid] = [pid for pid, attempt in executor.living.items() if attempt.run.path.name == job_id]
    Outcome(OutcomeKind.failed, "no_space", "full").write(executor.living.pop(pid))
    monitor_local(service.context)


def test_jobs_of_others_overtake_those_beyond_max_running(service: Service, executor: FakeExecutor) -> None:
    put(service, Quota(owner="alice", max_running=2))
    alice = [service.submit(user="alice") for _ in range(3)]
    bob = [service.submit(user="bob")]
    assert states(service, alice + bob) == ["starting", "starting", "queued", "starting"]
    # What a user is stopping still has its device.
    service.post(f"/jobs/{alice[0]}/cancel")
    assert states(service, alice) == ["cancelling", "starting", "queued"]
    end(service, executor, alice[0])
    assert states(service, alice) == ["cancelled", "starting", "starting"]


def test_a_large_job_beyond_the_quota_reserves_no_devices(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(service.context.executors, "local", FakeExecutor(Capacity(("0", "1", "2", "3"), 8, 8.0)))
    put(service, Quota(owner="alice", max_running=1))
    sizes = (("alice", 2), ("alice", 3), ("bob", 1))
    jobs = [service.submit(EXPERT | {"resources": {"gpus": gpus}}, user) for user, gpus in sizes]
    assert states(service, jobs) == ["starting", "queued", "starting"]


def test_the_quota_of_everyone_holds_for_each_user_without_one(service: Service, executor: FakeExecutor) -> None:
    put(service, Quota(owner="*", max_running=1), Quota(owner="bob"))
    jobs = [service.submit(user=user) for user in ("alice", "alice", "bob", "bob")]
    assert states(service, jobs) == ["starting", "queued", "starting", "starting"]


def test_with_no_running_jobs_for_everyone_only_those_with_a_quota_start(
    service: Service, executor: FakeExecutor
) -> None:
    put(service, Quota(owner="*", max_running=0), Quota(owner="bob", max_running=1))
    jobs = [service.submit(user=user) for user in ("alice", "bob", "bob", "admin")]
    assert states(service, jobs) == ["queued", "starting", "queued", "queued"]


def test_beyond_the_device_hours_jobs_start_in_the_next_month(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    monkeypatch.setattr(quotas, "now", lambda: at)
    put(
        service,
        Quota(owner="*", device_hours_per_month=2.0),
        DeviceTime(owner="alice", month="2026-11", gpu_s=3600.0, cpu_s=3600.0),
        DeviceTime(owner="bob", month="2026-11", gpu_s=7199.0),
        DeviceTime(owner="bob", month="2026-10", gpu_s=7200.0),
    )
    jobs = [service.submit(user="alice"), service.submit(user="bob")]
    assert states(service, jobs) == ["queued", "starting"]
    at += timedelta(seconds=1)
    assert states(service, jobs) == ["starting", "starting"]


def test_a_running_attempt_counts_up_to_now_and_is_not_stopped(service: Service, executor: FakeExecutor) -> None:
    put(service, Quota(owner="alice", device_hours_per_month=1e9))
    jobs = [service.submit(user="alice"), service.submit(user="alice")]
    with transaction(service.app.state.engine) as session:
        session.execute(update(Job).where(col(Job.id) == jobs[1]).values(state="paused"))
    assert states(service, jobs) == ["starting", "paused"]
    month_start = bounds(month_of(now()))[0]
    with transaction(service.app.state.engine) as session:
        # Only what falls into this month counts.
        session.execute(update(Attempt).values(started_at=month_start - timedelta(days=40)))
    used = (now() - month_start).total_seconds() / 3600
    put(service, Quota(owner="alice", device_hours_per_month=used / 2 + 1e-6))
    service.post(f"/jobs/{jobs[1]}/resume")
    assert states(service, jobs) == ["starting", "queued"]
    put(service, Quota(owner="alice", device_hours_per_month=used + 1))
    assert states(service, jobs) == ["starting", "starting"]
    assert executor.stopped == executor.killed == []


@pytest.fixture
def postgres_service(tmp_path: Path, postgres_url: str) -> Iterator[Service]:
    with service_on(Settings(data_dir=tmp_path / "data", database_url=postgres_url)) as service:
        yield service


@pytest.mark.parametrize("owner", ["alice", "*"])
def test_two_workers_that_claim_at_once_stay_within_the_quota(postgres_service: Service, owner: str) -> None:
    service, engine = postgres_service, postgres_service.app.state.engine
    put(service, Quota(owner=owner, max_running=1))
    alice = [service.submit(user="alice") for _ in range(2)]
    bob = service.submit(user="bob")

    def claimable(session: Session) -> str | None:
        queued = list(queries.queued_jobs(session, "local"))
        return next((job.id for job in queued if queries.lock_queued(session, job)), None)

    with transaction(engine) as first:
        assert claimable(first) == alice[0]
        # The other worker neither waits nor takes the second job.
        with transaction(engine) as second:
            assert claimable(second) == bob
        first.execute(update(Job).where(col(Job.id) == alice[0]).values(state="starting", attempt=1))
    with transaction(engine) as third:
        assert claimable(third) == bob


def test_a_worker_that_read_the_queue_before_another_claimed_counts_again(postgres_service: Service) -> None:
    service, engine = postgres_service, postgres_service.app.state.engine
    put(service, Quota(owner="alice", max_running=1))
    alice = [service.submit(user="alice") for _ in range(2)]
    with transaction(engine) as slow:
        queued = list(queries.queued_jobs(slow, "local"))
        with transaction(engine) as fast:
            assert queries.lock_queued(fast, fast.get_one(Job, alice[0]))
            fast.execute(update(Job).where(col(Job.id) == alice[0]).values(state="starting", attempt=1))
        assert [queries.lock_queued(slow, job) for job in queued] == [False, False]


def test_many_claims_at_once_stay_within_the_quota(postgres_service: Service) -> None:
    service, engine = postgres_service, postgres_service.app.state.engine
    put(service, Quota(owner="alice", max_running=3))
    alice = [service.submit(user="alice") for _ in range(12)]
    start = threading.Barrier(4)

    def claim() -> None:
        start.wait(30)
        for _ in range(12):
            with transaction(engine) as session:
                for job in list(queries.queued_jobs(session, "local")):
                    if queries.lock_queued(session, job):
                        session.execute(
                            update(Job).where(col(Job.id) == job.id).values(state="starting", attempt=1)
                        )  # fmt: skip
                        break

    workers = [threading.Thread(target=claim) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    with reading(engine) as session:
        started = session.exec(select(Job.id).where(Job.state == State.starting)).all()
    assert len(started) == 3
    assert set(started) <= set(alice)


def test_an_array_in_slurm_has_no_more_jobs_than_the_quota_has_room_for(service: Service) -> None:
    put(service, Quota(owner="alice", max_running=3))
    base = EXPERT | {"resources": {"executor": "slurm", "gpus": 0, "time_limit_min": 60}}
    sweep = {"name": "s", "base": base, "grid": {"training.seed": [1, 2, 3, 4, 5]}}
    running = service.submit(user="alice")
    service.transition(running, State.starting, State.running)
    answer = service.post("/sweeps", sweep, "alice")
    assert answer.status_code == 201, answer.text
    cluster = Cluster(max_array_size=1000)
    with transaction(service.app.state.engine) as session:
        batch = next_batch(session, service.settings, cluster)
    assert batch is not None
    assert len(batch.jobs) == 2
