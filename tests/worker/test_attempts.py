"""What the end of an attempt means for its job: lost, stopped, killed, at its time limit, or on a faulty node."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import update

from app.db import now, reading, transaction
from app.models import Attempt, Job, Worker
from core.run.protocol import Claim, Outcome, OutcomeKind, Task
from tests.app.api import EXPERT, EventFile, Service
from tests.worker.fake_executor import FakeExecutor, job_of, started
from worker.attempts import end_attempt
from worker.executors.base import Observation, ProcessState
from worker.reconcile import monitor_local

SLURM = {"version": "22.05", "reachable": True, "max_array_size": 1001, "partitions": []}


def test_a_local_job_that_was_stopped_from_outside_is_not_called_preempted(
    service: Service, executor: FakeExecutor
) -> None:
    job_id = service.submit()
    Outcome(OutcomeKind.stopped, signal="SIGTERM").write(executor.living.pop(started(service, job_id)))
    monitor_local(service.context)
    explained = service.get(f"/jobs/{job_id}/explain").json()
    assert job_of(service, job_id)["message"].startswith("was stopped with SIGTERM from outside, as when its worker's")
    assert "preempted" not in str(explained)


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


def lose(service: Service, executor: FakeExecutor, job_id: str, *, resumed: int, checkpoints: Sequence[int]) -> Any:
    """Starts the next attempt, which resumes at a step, completes checkpoints and is lost; returns the job."""
    attempt = executor.living.pop(started(service, job_id))
    events = EventFile(attempt.events)
    events.add("state", {"state": "running", "step": resumed})
    for step in checkpoints:
        events.add("checkpoint", {"step": step})
    monitor_local(service.context)
    return job_of(service, job_id)


def test_only_failures_in_a_row_without_a_new_checkpoint_are_counted(service: Service, executor: FakeExecutor) -> None:
    job_id = service.submit(EXPERT | {"max_attempts": 3})
    for resumed, checkpoints in ((0, []), (0, []), (0, [10]), (10, []), (10, []), (10, [15, 20]), (20, [30]), (30, [])):
        job = lose(service, executor, job_id, resumed=resumed, checkpoints=checkpoints)
        assert (job["state"], job["reason"]) == ("queued", "lost")
        assert job["message"].endswith("will resume from its latest checkpoint")
    # The same checkpoint written once more is no progress.
    assert lose(service, executor, job_id, resumed=30, checkpoints=[30])["state"] == "queued"
    job = lose(service, executor, job_id, resumed=30, checkpoints=[])
    assert (job["state"], job["reason"], job["attempt"]) == ("failed", "lost", 10)
    assert ", 3 times in a row without a new checkpoint: see the log, then retry" in job["message"]


def test_a_damaged_checkpoint_in_the_run_directory_is_no_progress(service: Service, executor: FakeExecutor) -> None:
    job_id = service.submit(EXPERT | {"max_attempts": 2})
    (service.context.run(job_id).checkpoints / "step-000000020").mkdir(parents=True)
    for state in ("queued", "failed"):
        assert lose(service, executor, job_id, resumed=10, checkpoints=[])["state"] == state


def test_a_preemption_with_a_new_checkpoint_resets_the_count(service: Service, executor: FakeExecutor) -> None:
    job_id = service.submit(EXPERT | {"max_attempts": 2})
    lose(service, executor, job_id, resumed=0, checkpoints=[])
    attempt = executor.living.pop(started(service, job_id))
    EventFile(attempt.events).add("checkpoint", {"step": 7})
    Outcome(OutcomeKind.stopped, step=7).write(attempt)
    monitor_local(service.context)
    assert lose(service, executor, job_id, resumed=7, checkpoints=[])["state"] == "queued"


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
