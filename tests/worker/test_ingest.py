"""From event log to database: each event once, and repeated steps replaced."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel import select

from app.db import reading, transaction
from app.models import Attempt, Component, Event, Job, State
from app.results.metrics import store
from tests.app.api import EXPERT, FUSION, EventFile, Service
from worker.ingest import KEPT_EVENTS, ingest, prune


def start_attempt(service: Service, number: int = 1, job_id: str | None = None) -> Attempt:
    job_id = job_id or service.submit()
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        job.attempt = number
    service.transition(job_id, State.starting)
    with transaction(service.app.state.engine) as session:
        session.add(Attempt(job_id=job_id, number=number, executor="local", host="here", devices=["cpu"]))
    return reload(service, job_id, number)


def reload(service: Service, job_id: str, number: int = 1) -> Attempt:
    with reading(service.app.state.engine) as session:
        row = session.get(Attempt, (job_id, number))
        assert row is not None
        session.expunge(row)
    return row


def series(service: Service, job_id: str, key: str = "train/loss_total") -> tuple[list[int], list[float]]:
    entry = service.get(f"/jobs/{job_id}/metrics/series?key={key}").json()["series"][0]
    return entry["steps"], entry["values"]


def test_a_log_becomes_state_metrics_progress_and_components(service: Service) -> None:
    attempt = start_attempt(service)
    job_id = attempt.job_id
    file = EventFile(service.context.attempt((job_id, 1)).events)
    file.add("config", {"input_dim": 64})
    file.add("state", {"state": "running", "step": 0})
    file.metrics(5, train__loss_total=2.0, lr__experts=0.1)
    file.metrics(10, train__loss_total=None)
    progress = {"epoch": 1, "epochs": 4, "step": 10, "steps": 40, "images_per_s": 100.0, "eta_s": 30.0}
    file.add("progress", progress)
    assert ingest(service.app.state.engine, attempt, service.context.attempt((job_id, 1)).events) > 0
    job = service.get(f"/jobs/{job_id}").json()
    assert (job["state"], job["plan"]) == ("running", {"input_dim": 64})
    assert job["metrics"] == {"train/loss_total": None, "lr/experts": 0.1}
    assert job["progress"]["fraction"] == 0.25
    assert 29.0 < job["progress"]["eta_s"] <= 30.0
    assert series(service, job_id) == ([5, 10], [2.0, None])
    types = [event["type"] for event in service.get(f"/jobs/{job_id}/events").json()["items"]]
    assert types == ["state", "state", "state", "metrics", "metrics", "progress"]


def test_reading_twice_or_a_half_line_changes_nothing(service: Service) -> None:
    attempt = start_attempt(service)
    path = service.context.attempt((attempt.job_id, 1)).events
    file = EventFile(path)
    file.add("state", {"state": "running", "step": 0})
    file.metrics(1, train__loss_total=1.0)
    with path.open("a") as raw:
        raw.write('{"seq": 3, "kind": "met')
    engine = service.app.state.engine
    stale = reload(service, attempt.job_id)
    assert ingest(engine, attempt, path) > 0
    before = service.get(f"/jobs/{attempt.job_id}/events").json()
    # Another worker that read from the same offset, and one that reads from where it ended.
    ingest(engine, stale, path)
    assert ingest(engine, reload(service, attempt.job_id), path) == 0
    assert service.get(f"/jobs/{attempt.job_id}/events").json() == before
    assert series(service, attempt.job_id) == ([1], [1.0])


def test_a_damaged_line_is_skipped(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    attempt = start_attempt(service)
    path = service.context.attempt((attempt.job_id, 1)).events
    file = EventFile(path)
    file.add("state", {"state": "running", "step": 0})
    with path.open("ab") as raw:
        raw.write(b'{"seq": 2, "ki' + bytes(16) + b"\n")
    file.metrics(1, train__loss_total=1.0)
    engine = service.app.state.engine
    assert ingest(engine, attempt, path) == path.stat().st_size
    assert series(service, attempt.job_id) == ([1], [1.0])
    assert "skipped a damaged line" in caplog.text
    # A block of nothing but damaged lines is passed as well.
    with path.open("ab") as raw:
        raw.write(b"\0\n")
    assert ingest(engine, reload(service, attempt.job_id), path) == 2
    assert ingest(engine, reload(service, attempt.job_id), path) == 0


def test_a_new_attempt_replaces_the_steps_it_redoes(service: Service) -> None:
    first = start_attempt(service)
    job_id, engine = first.job_id, service.app.state.engine
    file = EventFile(service.context.attempt((job_id, 1)).events)
    file.add("state", {"state": "running", "step": 0})
    for step in range(1, 11):
        file.metrics(step, train__loss_total=float(step))
    ingest(engine, first, service.context.attempt((job_id, 1)).events)
    service.transition(job_id, State.queued)
    second = start_attempt(service, 2, job_id)
    file = EventFile(service.context.attempt((job_id, 2)).events)
    file.add("state", {"state": "running", "step": 6})
    ingest(engine, second, service.context.attempt((job_id, 2)).events)
    assert series(service, job_id)[0] == [1, 2, 3, 4, 5, 6]
    file.metrics(7, train__loss_total=70.0)
    ingest(engine, reload(service, job_id, 2), service.context.attempt((job_id, 2)).events)
    assert series(service, job_id) == ([1, 2, 3, 4, 5, 6, 7], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 70.0])
    assert reload(service, job_id, 2).resumed_from_step == 6
    # Events that the first attempt's process still writes are ignored.
    EventFile(service.context.attempt((job_id, 1)).events).metrics(99, train__loss_total=99.0)
    ingest(engine, reload(service, job_id, 1), service.context.attempt((job_id, 1)).events)
    assert 99 not in series(service, job_id)[0]


def score(service: Service, job_id: str) -> float | None:
    with reading(service.app.state.engine) as session:
        return session.exec(select(Job.score).where(Job.id == job_id)).one()


@pytest.mark.parametrize(("spec", "key"), [(EXPERT, "val__accuracy_expert_0"), (FUSION, "val__accuracy_fused")])
def test_the_score_is_the_best_validation_accuracy_of_the_steps_that_count(
    service: Service, spec: dict[str, Any], key: str
) -> None:
    first = start_attempt(service, job_id=service.submit(spec))
    job_id, engine = first.job_id, service.app.state.engine
    path = service.context.attempt((job_id, 1)).events
    file = EventFile(path)
    file.add("state", {"state": "running", "step": 0})
    ingest(engine, first, path)
    assert score(service, job_id) is None
    for step, value in ((1, 0.5), (2, 0.9), (3, 0.7)):
        file.metrics(step, **{key: value, "val__accuracy_ensemble": 1.0})
    ingest(engine, reload(service, job_id), path)
    assert score(service, job_id) == 0.9
    # The best value is among the steps that the next attempt does again.
    service.transition(job_id, State.queued)
    second = start_attempt(service, 2, job_id)
    path = service.context.attempt((job_id, 2)).events
    file = EventFile(path)
    file.add("state", {"state": "running", "step": 1})
    ingest(engine, second, path)
    assert score(service, job_id) == 0.5
    file.metrics(2, **{key: 0.6})
    ingest(engine, reload(service, job_id, 2), path)
    assert score(service, job_id) == 0.6


def test_an_attempt_keeps_the_highest_step_that_it_reported(service: Service) -> None:
    attempt = start_attempt(service)
    job_id, engine = attempt.job_id, service.app.state.engine
    path = service.context.attempt((job_id, 1)).events
    file = EventFile(path)
    file.add("state", {"state": "running", "step": 0})
    ingest(engine, attempt, path)
    assert reload(service, job_id).last_step is None
    file.metrics(5, train__loss_total=1.0)
    file.add("progress", {"epoch": 1, "epochs": 3, "step": 7, "steps": 21, "images_per_s": 9.5, "eta_s": 1.0})
    file.metrics(6, train__loss_total=1.0)
    ingest(engine, reload(service, job_id), path)
    assert reload(service, job_id).last_step == 7
    # Metrics of an epoch may name a step before the last one that was reported.
    file.metrics(4, val__loss_global=1.0)
    ingest(engine, reload(service, job_id), path)
    assert reload(service, job_id).last_step == 7


def test_an_attempt_has_the_time_of_its_last_event(service: Service) -> None:
    attempt = start_attempt(service)
    path = service.context.attempt((attempt.job_id, 1)).events
    file = EventFile(path)
    file.add("state", {"state": "running", "step": 0})
    file.add("activity", {"phase": "validation"})
    ingest(service.app.state.engine, attempt, path)
    last = json.loads(path.read_text().splitlines()[-1])
    assert reload(service, attempt.job_id).reported_at == datetime.fromisoformat(last["time"])


def test_a_component_is_stored_with_its_score_architecture_and_data_set(service: Service) -> None:
    attempt = start_attempt(service)
    path = service.context.attempt((attempt.job_id, 1)).events
    file = EventFile(path)
    manifest = {"name": "expert_0", "role": "expert", "selected_by": "val/accuracy", "files": {}}
    manifest |= {"config": {"arch": "resnet18"}, "created_at": datetime.now(UTC).isoformat()}
    for epoch, accuracy in ((1, 0.5), (2, 0.75)):
        file.add("component", manifest | {"epoch": epoch, "metrics": {"val/accuracy": accuracy, "val/loss": 0.1}})
    file.add("component", manifest | {"name": "head", "epoch": 1, "metrics": {"val/accuracy": None}, "config": {}})
    ingest(service.app.state.engine, attempt, path)
    with reading(service.app.state.engine) as session:
        rows = {row.name: (row.score, row.arch, row.dataset) for row in session.exec(select(Component))}
    assert rows == {"expert_0": (0.75, "resnet18", "digits"), "head": (None, None, "digits")}


def test_a_component_that_is_reported_again_is_no_news(service: Service) -> None:
    attempt = start_attempt(service)
    path = service.context.attempt((attempt.job_id, 1)).events
    file = EventFile(path)
    manifest = {"name": "expert_0", "role": "expert", "selected_by": "val/accuracy", "config": {}, "metrics": {}}
    manifest |= {"created_at": datetime.now(UTC).isoformat()}
    for epoch in (1, 1, 2, 2, 2):
        file.add("component", manifest | {"epoch": epoch, "files": {"pth": {"sha256": f"{epoch}"}}})
    ingest(service.app.state.engine, attempt, path)
    events = service.get(f"/jobs/{attempt.job_id}/events?type=component").json()["items"]
    assert [event["data"]["epoch"] for event in events] == [1, 2]


def test_a_crash_before_the_commit_loses_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = start_attempt(service)
    path = service.context.attempt((attempt.job_id, 1)).events
    file = EventFile(path)
    file.add("state", {"state": "running", "step": 0})
    file.metrics(1, train__loss_total=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(store, "append", lambda *_: (_ for _ in ()).throw(RuntimeError("crash")))
        with pytest.raises(RuntimeError):
            ingest(service.app.state.engine, attempt, path)
    assert service.get(f"/jobs/{attempt.job_id}").json()["state"] == "starting"
    ingest(service.app.state.engine, reload(service, attempt.job_id), path)
    assert series(service, attempt.job_id) == ([1], [1.0])


def test_old_progress_is_dropped_and_the_rest_stays(service: Service) -> None:
    job_id = service.submit()
    with transaction(service.app.state.engine) as session:
        session.add_all(Event(job_id=job_id, type="metrics", data={"step": k}) for k in range(KEPT_EVENTS + 50))
        session.flush()
        prune(session, job_id)
    with reading(service.app.state.engine) as session:
        rows = list(session.exec(select(Event).where(Event.job_id == job_id).order_by(Event.id)))  # type: ignore[arg-type]
    assert rows[0].type == "state"
    assert [row.data["step"] for row in rows[1:]] == list(range(50, KEPT_EVENTS + 50))
