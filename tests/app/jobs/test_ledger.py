"""Where the time of a job went."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.db import transaction
from app.jobs.ledger import compute
from app.jobs.report_schemas import Ledger
from app.models import Attempt, Event, Job
from core.spec import parse_spec, resolve
from tests.app.api import EXPERT, Service

START = datetime(2030, 1, 1, tzinfo=UTC)


def minute(number: float) -> datetime:
    return START + timedelta(minutes=number)


def job(state: str = "succeeded", **resources: Any) -> Job:
    slurm = resources.get("executor") == "slurm"
    spec = resolve(parse_spec(EXPERT | {"resources": resources | ({"time_limit_min": 60} if slurm else {})}))
    row = {"kind": "expert", "name": "", "owner": "a", "defaulted": [], "executor": resources.get("executor", "local")}
    return Job(id="job_1", state=state, spec=spec.model_dump(mode="json", by_alias=True), **row)


def attempt(
    number: int, start: float, end: float | None, steps: tuple[int | None, int | None], **columns: Any
) -> Attempt:
    known: dict[str, Any] = {"executor": "local", "host": "here", "devices": ["0", "1"]} | columns
    return Attempt(
        job_id="job_1",
        number=number,
        started_at=minute(start),
        ended_at=None if end is None else minute(end),
        resumed_from_step=steps[0],
        last_step=steps[1],
        **known,
    )


def state(at: float, name: str, reason: str | None = None) -> Event:
    return Event(job_id="job_1", time=minute(at), type="state", data={"state": name, "reason": reason})


def preempted(last_step: int | None = 100, resumed_from: int | None = 60) -> Ledger:
    """Two GPUs: queued 3 min, 10 min until it was preempted, queued 2 min, 5 min until it succeeded."""
    attempts = [
        attempt(1, 3, 13, (0, last_step), reason="preempted", outcome="queued"),
        attempt(2, 15, 20, (resumed_from, 150), outcome="succeeded"),
    ]
    events = [
        state(0, "queued"), state(3, "starting"), state(4, "running"), state(13, "queued", "preempted"),
        state(15, "starting"), state(16, "running"), state(20, "succeeded"),
    ]  # fmt: skip
    return compute(job(gpus=2), attempts, events, minute(99))


def test_steps_done_again_are_redone_time_of_the_cause_that_lost_them() -> None:
    shown = preempted()
    first, second = shown.attempts
    assert (first.device_minutes, first.redone_steps, first.redone, first.useful) == (20.0, 40, 8.0, 12.0)
    assert (second.device_minutes, second.redone_steps, second.useful) == (10.0, 0, 10.0)
    assert (first.waiting, second.waiting) == (6.0, 4.0)
    assert shown.totals.model_dump() == {"useful": 22.0, "redone": 8.0, "silent": 0.0, "waiting": 10.0, "unknown": 0.0}
    assert {cause: totals.model_dump() for cause, totals in shown.by_cause.items()} == {
        "queued": {"redone": 0.0, "silent": 0.0, "waiting": 6.0},
        "preempted": {"redone": 8.0, "silent": 0.0, "waiting": 4.0},
    }
    assert shown.useful_share == pytest.approx(22 / 40)


def test_an_unknown_last_step_is_unknown_work() -> None:
    shown = preempted(last_step=None)
    assert (shown.attempts[0].redone, shown.attempts[0].redone_steps, shown.attempts[0].useful) == (None, None, None)
    assert (shown.totals.unknown, shown.totals.useful) == (20.0, 10.0)


def test_steps_that_are_done_a_third_time_count_for_both_attempts_that_did_them() -> None:
    attempts = [
        attempt(1, 0, 10, (0, 100), reason="lost"),
        attempt(2, 10, 20, (60, 80), reason="lost"),
        attempt(3, 20, 30, (50, 200), outcome="succeeded"),
    ]
    shown = compute(job(), attempts, [state(0, "running")], minute(30))
    assert [row.redone_steps for row in shown.attempts] == [50, 20, 0]
    assert [row.redone for row in shown.attempts] == [10.0, 20.0, 0.0]


@pytest.mark.parametrize(("outcome", "reason"), [("lost", "node_failure"), ("stopped", "hang")])
def test_time_after_the_last_report_of_a_lost_or_hung_attempt_is_silent(outcome: str, reason: str) -> None:
    attempts = [
        # Reports end after 10 of the 40 minutes.
        attempt(1, 0, 40, (0, 100), outcome=outcome, reason=reason, reported_at=minute(10)),
        attempt(2, 40, 50, (60, 200), outcome="succeeded", reported_at=minute(49)),
    ]
    shown = compute(job(), attempts, [state(0, "running")], minute(50))
    first, second = shown.attempts
    assert (first.device_minutes, first.silent, first.redone, first.useful) == (80.0, 60.0, 8.0, 12.0)
    assert (second.silent, second.useful) == (0.0, 20.0)
    assert shown.by_cause[reason].silent == 60.0
    assert shown.useful_share == pytest.approx(32 / 100)


def test_an_attempt_of_a_machine_whose_clock_is_behind_is_silent_for_no_more_than_it_took() -> None:
    lost = attempt(1, 5, 10, (0, 100), outcome="lost", reason="lost", reported_at=minute(0))
    [row] = compute(job("failed"), [lost], [state(5, "running")], minute(10)).attempts
    assert (row.device_minutes, row.silent, row.useful) == (10.0, 10.0, 0.0)


def test_an_attempt_that_never_began_is_redone_and_a_later_resume_is_awaited() -> None:
    attempts = [attempt(1, 0, 2, (None, None), reason="node_failure"), attempt(2, 2, 12, (0, 50), reason="lost")]
    events = [state(0, "starting"), state(2, "queued", "node_failure"), state(12, "queued", "lost")]
    waits = compute(job("queued"), attempts, events, minute(15))
    assert (waits.attempts[0].redone, waits.by_cause["node_failure"].redone) == (4.0, 4.0)
    assert waits.attempts[1].redone is None
    # The wait that no attempt has followed yet is in the totals alone.
    assert waits.by_cause["lost"].waiting == 3.0
    given_up = compute(job("failed"), attempts, [*events[:2], state(12, "failed", "lost")], minute(15))
    assert given_up.attempts[1].useful == given_up.attempts[1].device_minutes


def test_a_pause_and_slurms_queue_are_waiting() -> None:
    events = [state(0, "running"), state(4, "pausing", "user"), state(5, "paused", "user"), state(25, "queued", "user")]
    shown = compute(job("queued"), [attempt(1, 0, 5, (0, 10), devices=["cpu"])], events, minute(26))
    assert shown.attempts[0].device_minutes == 4.0
    assert shown.by_cause["user"].waiting == 22.0
    slurm = job("running", executor="slurm", gpus=4)
    events = [state(0, "queued"), state(1, "starting"), state(7, "running")]
    shown = compute(slurm, [attempt(1, 1, None, (0, None), devices=[], executor="slurm")], events, minute(10))
    assert (shown.attempts[0].devices, shown.attempts[0].device_minutes, shown.attempts[0].useful) == (4, 12.0, 12.0)
    assert (shown.by_cause["queued"].waiting, shown.by_cause["slurm"].waiting) == (4.0, 24.0)


def test_the_ledger_over_http(service: Service) -> None:
    job_id = service.submit()
    shown = service.get(f"/jobs/{job_id}/ledger").json()
    assert (shown["attempts"], list(shown["by_cause"]), shown["useful_share"]) == ([], ["queued"], 0.0)
    with transaction(service.app.state.engine) as session:
        columns: dict[str, Any] = {"executor": "local", "host": "here", "devices": ["cpu"]}
        session.add(Attempt(job_id=job_id, number=1, **columns))
    assert service.get(f"/jobs/{job_id}/ledger").json()["attempts"][0]["redone"] == 0.0
