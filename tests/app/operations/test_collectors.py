"""What a scrape says about jobs, attempts and workers, on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import Engine, event, insert
from sqlmodel import SQLModel

from app.db import now, reading, transaction
from app.jobs.transitions import transition
from app.models import Attempt, DeviceTime, Job, Lease, Reason, State, WebhookDelivery, Worker
from app.operations import queries
from app.operations.collectors import DatabaseCollector
from tests.app.api import Service
from tests.app.operations.metrics import Samples, parse


def collected(engine: Engine) -> Samples:
    registry = CollectorRegistry()
    registry.register(DatabaseCollector(engine))
    return parse(generate_latest(registry).decode())


def job(number: int, state: State, executor: str = "local", minutes: float = 0, **values: Any) -> Job:
    since = now() - timedelta(minutes=minutes)
    columns: dict[str, Any] = {
        "kind": "expert",
        "name": "",
        "owner": "alice",
        "spec": {},
        "defaulted": [],
        "attempt": 1,
        **values,
    }
    return Job(id=f"job_{number}", state=state, executor=executor, state_since=since, **columns)


def test_webhooks_are_counted_while_they_wait_and_once_they_are_given_up(database: Engine) -> None:
    assert collected(database)["mcn_webhook_deliveries", "waiting"] == 0
    times: dict[str, Any] = {"created_at": now(), "next_at": now()}
    with transaction(database) as session:
        for number, given_up_at in enumerate((None, None, now())):
            one = WebhookDelivery(delivery_id=f"{number}", address="x", body="", given_up_at=given_up_at, **times)
            session.add(one)
    samples = collected(database)
    assert samples["mcn_webhook_deliveries", "waiting"] == 2
    assert samples["mcn_webhook_deliveries", "given_up"] == 1


def test_device_hours_are_the_sum_over_users_and_months(database: Engine) -> None:
    assert collected(database)["mcn_device_hours_total", "gpu"] == 0
    with transaction(database) as session:
        session.add_all(
            DeviceTime(owner=owner, month=month, gpu_s=3600.0, cpu_s=900.0)
            for owner in ("alice", "bob")
            for month in ("2026-10", "2026-11")
        )
    samples = collected(database)
    assert samples["mcn_device_hours_total", "gpu"] == 4.0
    assert samples["mcn_device_hours_total", "cpu"] == 1.0


def test_jobs_are_counted_by_executor_and_state_with_the_longest_time_in_it(database: Engine) -> None:
    jobs = [job(1, State.queued, minutes=3), job(2, State.queued, minutes=9), job(3, State.queued, "slurm", 60)]
    with transaction(database) as session:
        session.add_all([*jobs, job(4, State.failed, minutes=999)])
    samples = collected(database)
    assert samples["mcn_jobs", "local", "queued"] == 2
    assert samples["mcn_jobs", "slurm", "queued"] == 1
    assert samples["mcn_jobs", "local", "failed"] == 1
    assert samples["mcn_jobs", "slurm", "running"] == 0
    assert samples["mcn_job_state_age_seconds", "local", "queued"] == pytest.approx(540, abs=30)
    assert samples["mcn_job_state_age_seconds", "slurm", "queued"] == pytest.approx(3600, abs=30)
    assert samples["mcn_job_state_age_seconds", "slurm", "running"] == 0
    assert ("mcn_job_state_age_seconds", "local", "failed") not in samples


def test_the_time_in_a_state_begins_with_each_transition(database: Engine) -> None:
    with transaction(database) as session:
        session.add(job(1, State.queued, minutes=60))
    with transaction(database) as session:
        assert transition(session, "job_1", State.starting)
    samples = collected(database)
    assert samples["mcn_job_state_age_seconds", "local", "starting"] < 60
    assert samples["mcn_job_state_age_seconds", "local", "queued"] == 0


def test_attempts_are_counted_by_their_end_for_an_hour(database: Engine) -> None:
    def attempt(number: int, minutes: float | None, outcome: str | None, reason: Reason | None) -> Attempt:
        ended_at = None if minutes is None else now() - timedelta(minutes=minutes)
        values: dict[str, Any] = {
            "executor": "local",
            "host": "a",
            "devices": [],
            "started_at": now() - timedelta(days=1),
        }
        return Attempt(job_id="job_1", number=number, ended_at=ended_at, outcome=outcome, reason=reason, **values)

    with transaction(database) as session:
        session.add(job(1, State.failed))
        session.flush()
        session.add_all(
            [
                attempt(1, 1, "failed", Reason.out_of_memory),
                attempt(2, 30, "failed", Reason.out_of_memory),
                attempt(3, 30, "succeeded", None),
                attempt(4, 90, "failed", Reason.code_error),
                attempt(5, None, None, None),
            ]
        )
    ends = {tuple(labels): value for (name, *labels), value in collected(database).items() if "ended" in name}
    assert ends == {("failed", "out_of_memory"): 2, ("succeeded", ""): 1}


def test_the_speed_is_that_of_running_jobs(database: Engine) -> None:
    with transaction(database) as session:
        session.add_all(
            [
                job(1, State.running, progress={"images_per_s": 100.5}),
                job(2, State.running, progress={"images_per_s": 50.0}),
                job(3, State.running, progress={"images_per_s": None}),
                job(4, State.running),
                job(5, State.paused, progress={"images_per_s": 7.0}),
                job(6, State.running, "slurm", progress={"images_per_s": 1000}),
            ]
        )
    samples = collected(database)
    assert samples["mcn_images_per_second", "local"] == 150.5
    assert samples["mcn_images_per_second", "slurm"] == 1000


def test_a_worker_has_its_heartbeat_its_devices_and_its_timings(database: Engine) -> None:
    disk = {"free_bytes": 5 << 30, "starts_paused": True}
    timings = {"local_round_s": 0.25, "remote_round_s": 2.0, "ingest_lag_s": 0.5}
    with transaction(database) as session:
        session.add(job(1, State.running))
        session.add(
            Worker(host="a", devices=["0", "1"], seen_at=now(), slurm={"reachable": False}, disk=disk, timings=timings)
        )
        session.add(Worker(host="b", devices=["cpu"], seen_at=now() - timedelta(minutes=5)))
        session.add(Worker(host="sold", devices=["cpu"], seen_at=now() - timedelta(days=8)))
        session.flush()
        session.add(Lease(host="a", device="1", job_id="job_1", attempt=1))
    samples = collected(database)
    assert (samples["mcn_worker_up", "a"], samples["mcn_worker_up", "b"]) == (1, 0)
    assert samples["mcn_worker_heartbeat_age_seconds", "b"] == pytest.approx(300, abs=30)
    assert (samples["mcn_devices", "a"], samples["mcn_devices_in_use", "a"]) == (2, 1)
    assert (samples["mcn_devices", "b"], samples["mcn_devices_in_use", "b"]) == (1, 0)
    assert (samples["mcn_worker_disk_free_bytes", "a"], samples["mcn_worker_starts_paused", "a"]) == (5 << 30, 1)
    assert samples["mcn_slurm_reachable", "a"] == 0
    assert samples["mcn_worker_round_seconds", "local", "a"] == 0.25
    assert samples["mcn_worker_round_seconds", "remote", "a"] == 2
    assert samples["mcn_ingest_lag_seconds", "a"] == 0.5
    assert not [labels for labels in samples if "sold" in labels]
    assert not [
        name for name, *labels in samples if "b" in labels and ("round" in name or "slurm" in name or "disk" in name)
    ]


def test_counting_reads_indexes_alone_however_many_jobs_there_are(service: Service) -> None:
    # PostgreSQL chooses by the size of its tables.
    database = service.app.state.engine
    rows = [job(number, State.succeeded).model_dump() for number in range(200)]
    with transaction(database) as session:
        session.connection().execute(insert(SQLModel.metadata.tables["jobs"]), rows)
    executed: list[tuple[str, Any]] = []
    event.listen(database, "before_cursor_execute", lambda *args: executed.append((args[2], args[3])))
    with reading(database) as session:
        list(queries.count_jobs(session))
        list(queries.count_ends(session, timedelta(hours=1)))
        plans = [
            session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()[0][3]
            for statement, parameters in list(executed)
        ]
    assert plans == [
        "SCAN jobs USING COVERING INDEX jobs_by_executor_state",
        "SEARCH attempts USING COVERING INDEX attempts_by_ended_at (ended_at>?)",
    ]
