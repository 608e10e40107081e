"""What the attempts of each user use, by month, and how large run directories are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, update
from sqlmodel import col, select

from app.db import now, reading, transaction
from app.jobs.device_time import DeviceSeconds, month_of
from app.jobs.quotas import device_time_in_month
from app.jobs.usage_queries import add_device_time
from app.models import Attempt, DeviceTime, Job, State
from app.operations.backup.queries import detach_attempts
from core.run.protocol import Outcome, OutcomeKind
from tests.app.api import EventFile, Service
from tests.worker.fake_executor import FakeExecutor
from worker.attempts import end_attempt
from worker.executors.base import Observation, ProcessState
from worker.ingest import ingest
from worker.reconcile import start_all
from worker.stored_bytes import SizeBacklog


def attempt_of(engine: Engine, job_id: str, **columns: object) -> Attempt:
    with transaction(engine) as session:
        if columns:
            session.execute(update(Attempt).where(col(Attempt.job_id) == job_id).values(**columns))
    with reading(engine) as session:
        attempt = session.get_one(Attempt, (job_id, 1))
        session.expunge(attempt)
    return attempt


def recorded(engine: Engine) -> dict[tuple[str, str], tuple[float, float]]:
    with reading(engine) as session:
        rows = session.exec(select(DeviceTime)).all()
    return {(row.owner, row.month): (round(row.gpu_s, 3), round(row.cpu_s, 3)) for row in rows}


def test_an_attempt_that_ends_is_added_to_its_months_once(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = service.app.state.engine
    job_id = service.submit(user="alice")
    start_all(service.context)
    attempt = attempt_of(engine, job_id, started_at=datetime(2026, 10, 31, 23, 30, tzinfo=UTC), devices=["0", "cpu:1"])
    monkeypatch.setattr("worker.attempts.now", lambda: datetime(2026, 11, 1, 1, tzinfo=UTC))
    run = service.context.attempt((job_id, 1))
    (run.run.path / "weights").write_bytes(b"x" * 5000)
    for _ in range(2):
        lost = Outcome(OutcomeKind.lost)
        end_attempt(service.context, executor, attempt, run, lost, Observation(ProcessState.ended))
    assert recorded(engine) == {("alice", "2026-10"): (1800.0, 1800.0), ("alice", "2026-11"): (3600.0, 3600.0)}
    with reading(engine) as session:
        assert (session.get_one(Job, job_id).size_bytes or 0) >= 5000
    # Deleting the job gives back its bytes, and none of its time.
    service.transition(job_id, State.cancelled)
    assert service.call("DELETE", f"/jobs/{job_id}").status_code == 200
    assert recorded(engine)["alice", "2026-10"] == (1800.0, 1800.0)
    assert [row["stored_bytes"] for row in service.get("/usage?month=2026-10").json()["owners"]] == [0]


def test_in_slurm_an_attempt_counts_from_its_first_step(service: Service, executor: FakeExecutor) -> None:
    engine = service.app.state.engine
    job_id = service.submit(user="alice")
    start_all(service.context)
    submitted_at = now() - timedelta(hours=5)
    attempt = attempt_of(engine, job_id, started_at=submitted_at, executor="slurm", devices=[])
    month = month_of(now())
    with reading(engine) as session:
        assert device_time_in_month(session, month, now())["alice"].hours == 0.0
    run = service.context.attempt((job_id, 1))
    EventFile(run.events).add("state", {"state": "running", "step": 0})
    assert ingest(engine, attempt, run.events) > 0
    attempt = attempt_of(engine, job_id, running_at=now() - timedelta(seconds=9))
    end_attempt(service.context, executor, attempt, run, Outcome(OutcomeKind.lost), Observation(ProcessState.ended))
    assert sum(cpu_s for _, cpu_s in recorded(engine).values()) == pytest.approx(9.0, abs=5.0)


def test_the_first_step_is_recorded_by_the_clock_of_the_process(service: Service, executor: FakeExecutor) -> None:
    job_id = service.submit()
    start_all(service.context)
    engine = service.app.state.engine
    attempt = attempt_of(engine, job_id)
    run = service.context.attempt((job_id, 1))
    EventFile(run.events).add("state", {"state": "running", "step": 0})
    text = run.events.read_text()
    at = datetime(2026, 11, 1, 12, tzinfo=UTC)
    stamp = text.partition('"time": "')[2].partition('"')[0]
    run.events.write_text(text.replace(stamp, at.isoformat()))
    ingest(engine, attempt, run.events)
    assert attempt_of(engine, job_id).running_at == at


def test_a_complete_checkpoint_updates_the_size_of_a_running_job(service: Service, executor: FakeExecutor) -> None:
    job_id = service.submit()
    start_all(service.context)
    engine = service.app.state.engine
    attempt = attempt_of(engine, job_id)
    run = service.context.attempt((job_id, 1))
    run.run.checkpoints.mkdir(parents=True)
    (run.run.checkpoints / "weights").write_bytes(b"x" * 7000)
    EventFile(run.events).add("checkpoint", {"step": 10})
    ingest(engine, attempt, run.events)
    with reading(engine) as session:
        assert 7000 <= (session.get_one(Job, job_id).size_bytes or 0) < 14_000


def test_jobs_of_an_earlier_version_are_measured(service: Service) -> None:
    engine = service.app.state.engine
    job_id, other = service.submit(), service.submit()
    folder = service.settings.runs_dir / job_id
    folder.mkdir()
    (folder / "result.json").write_text("12345")
    with transaction(engine) as session:
        session.execute(update(Job).where(col(Job.id) == job_id).values(size_bytes=None))
        session.execute(update(Job).where(col(Job.id) == other).values(size_bytes=7))
    backlog = SizeBacklog()
    assert [backlog.measure_some(engine, service.settings.runs_dir) for _ in range(2)] == [1, 0]
    with reading(engine) as session:
        assert [session.get_one(Job, name).size_bytes for name in (job_id, other)] == [5, 7]


def test_device_time_of_several_attempts_adds_up(database: Engine) -> None:
    for owner, used in (("alice", (1.0, 2.0)), ("alice", (10.0, 20.0)), ("bob", (5.0, 0.0))):
        with transaction(database) as session:
            add_device_time(session, owner, "2026-11", DeviceSeconds(*used))
    assert recorded(database) == {("alice", "2026-11"): (11.0, 22.0), ("bob", "2026-11"): (5.0, 0.0)}


def test_jobs_of_a_restored_backup_are_measured_again(service: Service) -> None:
    job_id = service.submit()
    engine = service.app.state.engine
    with transaction(engine) as session:
        session.execute(update(Job).values(size_bytes=7))
        detach_attempts(session)
    SizeBacklog().measure_some(engine, service.settings.runs_dir)
    with reading(engine) as session:
        assert session.get_one(Job, job_id).size_bytes == 0
