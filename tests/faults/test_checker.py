"""The checker of the fault suite: it accepts what is right, and finds each kind of damage that is planted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, update
from sqlmodel import Session, select

from app.db import now, transaction
from app.jobs.event_queries import record_events
from app.models import Attempt, ChunkData, Component, Event, Job, Lease, Series, State
from app.results.metrics import store
from core.run.rundir import RunDir
from tests.app.api import Service
from tests.faults.checker import Evidence, violations
from tests.faults.client import Answer, Record
from tests.faults.workload import SPECS, result_of

STEPS = np.arange(5)


@dataclass
class Case:
    """A job that was submitted, trained and succeeded, and what a client knows about it."""

    service: Service
    job_id: str
    evidence: Evidence

    @property
    def record(self) -> Record:
        return self.evidence.record

    def answer(self, path: str, status: int, key: str | None = None, **job: Any) -> None:
        """One more answer to a client."""
        self.record.answers.append(Answer("POST", path, status, 0.1, 0.0, key, job or None))


@pytest.fixture
def case(service: Service) -> Case:
    """A job with two attempts, a metric and a component."""
    body = json.dumps(SPECS["short"]).encode()
    answer = service.post("/jobs", body, headers={"Idempotency-Key": "one"})
    job_id = answer.json()["id"]
    record = Record([Answer("POST", "/jobs", 201, 0.1, 0.0, "one", answer.json())], {"one": "short"})
    folder = RunDir(service.settings.runs_dir / job_id)
    folder.components.mkdir(parents=True)
    (folder.components / "expert_0.safetensors").write_bytes(b"weights")
    folder.result.write_text("{}")
    began = now() - timedelta(minutes=10)
    for number, outcome in ((1, "lost"), (2, "succeeded")):
        service.transition(job_id, State.starting, attempt=number)
        with transaction(service.app.state.engine) as session:
            start = began + timedelta(minutes=number)
            ended = start + timedelta(seconds=30)
            attempt = {"job_id": job_id, "number": number, "executor": "local", "host": "here", "devices": ["cpu"]}
            reason = "lost" if outcome == "lost" else None
            session.add(Attempt(**attempt, started_at=start, ended_at=ended, outcome=outcome, reason=reason))
        service.transition(job_id, State.running, *([State.queued] if number == 1 else [State.succeeded]))
    with transaction(service.app.state.engine) as session:
        store.append(session, job_id, {"train/loss_total": store.Block(STEPS, STEPS / 7, STEPS * 1.0)})
        digest = hashlib.sha256(b"weights").hexdigest()
        files = {"safetensors": {"place": "expert_0.safetensors", "sha256": digest}}
        component = {"id": "cmp_1", "job_id": job_id, "name": "expert_0", "role": "expert", "epoch": 1}
        session.add(Component(**component, metrics={}, selected_by="", config={}, files=files))
    engine = service.app.state.engine
    evidence = Evidence(engine, service.settings.runs_dir, record, {"short": result_of(engine, job_id)})
    return Case(service, job_id, replace(evidence, followed=_state_events(case_engine=engine)))


def _state_events(case_engine: Any) -> list[int]:
    with transaction(case_engine) as session:
        return [int(number or 0) for number in session.exec(select(Event.id).where(Event.type == "state"))]


def test_a_job_that_went_well_has_no_violations(case: Case) -> None:
    assert violations(case.evidence) == []


def lose_job(case: Case, session: Session) -> None:
    session.execute(delete(Job).where(Job.id == case.job_id))  # type: ignore[arg-type]


def two_answers(case: Case, _session: Session) -> None:
    case.answer("/jobs", 201, "one", id="job_other", state="queued")


def error_of_the_service(case: Case, _session: Session) -> None:
    case.answer("/jobs", 500)


def long_wait(case: Case, _session: Session) -> None:
    case.record.answers.append(Answer("GET", "/jobs", 0, 30.0, 0.0))


def lost_pause(case: Case, _session: Session) -> None:
    case.answer(f"/jobs/{case.job_id}/pause", 202, id=case.job_id, state="pausing")


def illegal_move(case: Case, session: Session) -> None:
    for state in ("queued", "succeeded"):
        event = {"job_id": case.job_id, "time": now(), "type": "state", "data": {"state": state}}
        record_events(session, [event])


def state_without_event(case: Case, session: Session) -> None:
    session.execute(update(Job).values(state="failed", reason="loss_not_finite"))


def unexpected_failure(case: Case, session: Session) -> None:
    session.execute(update(Job).values(state="failed", reason="lost"))


def stuck(case: Case, session: Session) -> None:
    session.execute(update(Job).values(state="running"))


def double_step(case: Case, session: Session) -> None:
    steps = np.array([0, 1, 1, 3, 4], dtype="<i8").tobytes()
    session.execute(update(ChunkData).values(steps=steps))


def missing_steps(case: Case, session: Session) -> None:
    store.truncate(session, case.job_id, 2)


def wrong_count(case: Case, session: Session) -> None:
    session.execute(update(Series).values(count=7))


def overlap(case: Case, session: Session) -> None:
    first = update(Attempt).where(Attempt.number == 1)  # type: ignore[arg-type]
    session.execute(first.values(ended_at=now()))


def result_of_an_older_attempt(case: Case, session: Session) -> None:
    session.execute(update(Attempt).values(outcome="succeeded"))


def gap(case: Case, session: Session) -> None:
    session.execute(delete(Attempt).where(Attempt.number == 1))  # type: ignore[arg-type]


def open_attempt(case: Case, session: Session) -> None:
    session.execute(update(Attempt).where(Attempt.number == 2).values(ended_at=None))  # type: ignore[arg-type]


def held_device(case: Case, session: Session) -> None:
    session.add(Lease(host="here", device="cpu", job_id=case.job_id, attempt=2))


def damaged_component(case: Case, _session: Session) -> None:
    folder = RunDir(case.service.settings.runs_dir / case.job_id).components
    (folder / "expert_0.safetensors").write_bytes(b"other")


def missing_component(case: Case, _session: Session) -> None:
    folder = RunDir(case.service.settings.runs_dir / case.job_id).components
    (folder / "expert_0.safetensors").unlink()


def missing_result(case: Case, _session: Session) -> None:
    RunDir(case.service.settings.runs_dir / case.job_id).result.unlink()


def missed_event(case: Case, _session: Session) -> None:
    assert isinstance(case.evidence.followed, list)
    case.evidence.followed.pop(2)


def repeated_event(case: Case, _session: Session) -> None:
    assert isinstance(case.evidence.followed, list)
    case.evidence.followed.insert(2, case.evidence.followed[2])


def never_acknowledged(case: Case, _session: Session) -> None:
    case.record.keys["two"] = "short"


DAMAGE: dict[Callable[[Case, Session], None], str] = {
    lose_job: "is lost",
    two_answers: "answered with 2 jobs",
    error_of_the_service: "answered with 500",
    long_wait: "GET /jobs waited 30 s for nothing",
    lost_pause: "acknowledged as pausing, which no event",
    illegal_move: "went from succeeded to queued, which is not allowed",
    state_without_event: "is failed, but its last event says succeeded",
    unexpected_failure: r"failed \(lost\)",
    stuck: "is still running",
    double_step: "train/loss_total has step 1 twice",
    missing_steps: "3 steps up to 2, not 5 steps up to 4",
    wrong_count: "counts 7 points and has 5",
    overlap: "attempt 2 started before attempt 1 had ended",
    result_of_an_older_attempt: "attempt 1 succeeded, and attempt 2 ran all the same",
    gap: r"has the attempts \[2\]",
    open_attempt: "attempt 2 has not",
    held_device: "cpu on here is still held",
    damaged_component: "is not the one that was written",
    missing_component: "is missing",
    missing_result: "has no result",
    missed_event: "left out 1 state events",
    repeated_event: "sent event",
    never_acknowledged: "was ever acknowledged",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_planted_damage_is_found(case: Case, damage: Callable[[Case, Session], None]) -> None:
    with transaction(case.service.app.state.engine) as session:
        damage(case, session)
    found = violations(case.evidence)
    assert any(_matches(DAMAGE[damage], problem) for problem in found), found


def test_an_attempt_is_lost_for_no_reason_only_where_its_process_was_spared(case: Case) -> None:
    found = violations(replace(case.evidence, spares_training=True))
    assert [problem.partition(": ")[2] for problem in found] == [
        "its attempt 1 was lost, although nothing was done to its process"
    ]


def _matches(pattern: str, text: str) -> bool:

    return re.search(pattern, text) is not None
