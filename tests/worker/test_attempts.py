"""Claims, starts that came to nothing, and what an end means by what was wished: with processes that behave as told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import select

from app.db import now, reading, transaction
from app.models import WORKER_TIMEOUT, Attempt, Job, Lease, State, Worker
from core.run.rundir import RunDir
from tests.app.api import EXPERT, Service
from worker.attempts import end
from worker.executors.base import Handle, Observation, ProcessState, Submission
from worker.executors.local import START_LIMIT_S, LocalExecutor
from worker.reconcile import monitor_local, start_all


class Inline(LocalExecutor):
    """An executor whose processes live until told otherwise."""

    def __init__(self) -> None:
        self.living: dict[int, RunDir] = {}
        self.stopped: list[int] = []
        self.killed: list[int] = []

    def submit(self, order: Submission) -> list[Handle]:
        pid = 1000 + len(self.living)
        [self.living[pid]] = order.runs
        return [{"pid": pid, "started": 1.0}]

    def alive(self, handle: Handle) -> bool:
        return handle["pid"] in self.living

    def stop(self, handle: Handle, seen: Observation, *, cancel: bool) -> None:
        self.stopped.append(handle["pid"])

    def kill(self, handle: Handle) -> None:
        self.killed.append(handle["pid"])
        del self.living[handle["pid"]]


@pytest.fixture
def inline(service: Service, monkeypatch: pytest.MonkeyPatch) -> Inline:
    made = Inline()
    monkeypatch.setitem(service.context.executors, "local", made)
    return made


def job_of(service: Service, job_id: str) -> dict[str, Any]:
    return dict(service.get(f"/jobs/{job_id}").json())


def started(service: Service, job_id: str) -> int:
    """Starts the next job, says it runs, and gives the process."""
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


def test_a_device_is_leased_to_one_job_and_given_back(service: Service, inline: Inline) -> None:
    first, second = service.submit(), service.submit()
    start_all(service.context)
    start_all(service.context)
    assert [job_of(service, job_id)["state"] for job_id in (first, second)] == ["starting", "queued"]
    assert [lease.job_id for lease in leases(service)] == [first]
    [run] = inline.living.values()
    run.write(run.outcome, {"outcome": "failed", "reason": "no_space", "message": "full"})
    inline.living.clear()
    monitor_local(service.context)
    job = job_of(service, first)
    assert (job["state"], job["reason"], job["message"]) == ("failed", "no_space", "full")
    assert leases(service) == []
    start_all(service.context)
    assert job_of(service, second)["state"] == "starting"


@pytest.mark.parametrize(
    ("wish", "outcome", "state", "reason"),
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
def test_an_end_means_what_happened_and_what_was_wished(
    service: Service, inline: Inline, wish: str | None, outcome: str | None, state: str, reason: str | None
) -> None:
    job_id = service.submit()
    pid = started(service, job_id)
    if wish:
        service.post(f"/jobs/{job_id}/{wish}")
        monitor_local(service.context)
        assert inline.stopped == [pid]
    run = inline.living.pop(pid)
    if outcome:
        run.write(run.outcome, {"outcome": outcome, "reason": "code_error" if outcome == "failed" else None})
    if outcome == "succeeded":
        run.write(run.result, {})
    monitor_local(service.context)
    job = job_of(service, job_id)
    assert (job["state"], job["reason"]) == (state, reason)


def test_success_without_a_result_is_none(service: Service, inline: Inline) -> None:
    job_id = service.submit()
    run = inline.living.pop(started(service, job_id))
    run.write(run.outcome, {"outcome": "succeeded"})
    monitor_local(service.context)
    assert job_of(service, job_id)["state"] == "failed"


def test_a_process_that_does_not_stop_is_killed(
    service: Service, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inline, "cancel_grace_s", 0.0)
    job_id = service.submit()
    pid = started(service, job_id)
    service.post(f"/jobs/{job_id}/cancel")
    for _ in range(3):
        monitor_local(service.context)
    assert inline.killed == [pid]
    assert job_of(service, job_id)["state"] == "cancelled"


def test_a_worker_that_died_while_starting_a_job_loses_nothing(
    service: Service, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.submit()

    def die(*_: Any) -> Handle:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(inline, "submit", die)
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
    # The process that was started all the same, and comes late, may not run any more.
    assert not service.context.run(job_id, 1).try_claim({"pid": 1, "started": 1.0})
    start_all(service.context)
    assert job_of(service, job_id)["attempt"] == 2


def test_more_gpus_than_there_are_is_said_at_once(service: Service, inline: Inline) -> None:
    job_id = service.submit(EXPERT | {"resources": {"gpus": 1}})
    start_all(service.context)
    job = job_of(service, job_id)
    assert job["state"] == "failed"
    assert "asks for 1 GPU, no machine here has any: change resources.gpus, then retry" in job["message"]
    larger = Worker(host="there", devices=["0", "1"], cpus=2, memory_gb=8, seen_at=now())
    with transaction(service.app.state.engine) as session:
        session.add(larger)
    job_id = service.submit(EXPERT | {"resources": {"gpus": 3}})
    start_all(service.context)
    assert "asks for 3 GPUs, no machine here has more than 2" in job_of(service, job_id)["message"]


def test_a_job_for_a_larger_machine_is_left_to_it(service: Service, inline: Inline) -> None:
    large, small = (service.submit(EXPERT | {"resources": {"gpus": gpus}}) for gpus in (3, 0))
    larger = Worker(host="there", devices=["0", "1", "2"], cpus=2, memory_gb=8, seen_at=now())
    with transaction(service.app.state.engine) as session:
        session.add(larger)
    start_all(service.context)
    assert [job_of(service, job_id)["state"] for job_id in (large, small)] == ["queued", "starting"]
    # One that is away will not take it.
    inline.living.clear()
    with transaction(service.app.state.engine) as session:
        session.execute(update(Worker).values(seen_at=now() - WORKER_TIMEOUT))
    monitor_local(service.context)
    start_all(service.context)
    assert job_of(service, large)["state"] == "failed"


def test_a_lost_process_is_replaced_until_it_has_been_lost_too_often(service: Service, inline: Inline) -> None:
    job_id = service.submit(EXPERT | {"max_attempts": 2})
    for number, state in ((1, "queued"), (2, "failed")):
        inline.living.pop(started(service, job_id))
        monitor_local(service.context)
        job = job_of(service, job_id)
        assert (job["state"], job["reason"], job["attempt"]) == (state, "lost", number)
    assert service.post(f"/jobs/{job_id}/retry").status_code == 202
    with reading(service.app.state.engine) as session:
        row = session.get(Job, job_id)
        assert row is not None
        assert row.failures == 0


def test_a_fault_on_one_of_several_nodes_is_that_nodes_alone(service: Service, inline: Inline) -> None:
    job_id = service.submit(EXPERT)
    pid = started(service, job_id)
    with transaction(service.app.state.engine) as session:
        session.execute(update(Attempt).values(executor="slurm", host="n1,n2"))
        session.add(Worker(host="login", devices=[], cpus=2, memory_gb=8, seen_at=now(), slurm={"version": "22.05"}))
    two = {row["node"]: row["attempts"] for row in service.get("/cluster").json()["slurm"]["nodes"]}
    assert two == {"n1": 1, "n2": 1}
    with reading(service.app.state.engine) as session:
        attempt = session.get_one(Attempt, (job_id, 1))
    outcome = {"outcome": "failed", "reason": "hardware_fault", "message": "the device failed", "node": "n2"}
    end(service.context, attempt, outcome, Observation(ProcessState.ended))
    del inline.living[pid]
    [row] = service.get("/cluster").json()["slurm"]["nodes"]
    assert (row["node"], row["hardware_faults"]) == ("n2", 1)
