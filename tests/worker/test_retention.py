"""When workers apply the retention policy: each hour one of them, and not at once after a time without any."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError

from app.db import database_time, reading, transaction
from app.operations.retention.service import claim_run
from tests.app.api import Service
from tests.app.operations.retention.ended import ended, existing, make_due, put
from worker import retention
from worker.retention import run_if_due, run_rounds


def next_run(service: Service) -> timedelta:
    """How long until the next run."""
    with reading(service.app.state.engine) as session:
        at = database_time(session)
    return datetime.fromisoformat(service.get("/retention").json()["next_run_at"]) - at


def test_the_policy_is_applied_when_it_is_due_and_by_one_worker(service: Service) -> None:
    job_id, stopping = ended(service), threading.Event()
    assert not run_if_due(service.context, stopping)
    put(service, {})
    assert not run_if_due(service.context, stopping)
    assert existing(service) == {job_id}
    make_due(service)
    assert [run_if_due(replace(service.context, host=host), stopping) for host in ("one", "two")] == [True, False]
    assert existing(service) == set()
    assert timedelta(minutes=59) < next_run(service) <= timedelta(hours=1)
    shown = service.get("/retention").json()
    assert [(run["started_by"], run["jobs"]) for run in shown["runs"]] == [("worker one", 1)]
    assert shown["last_run_at"] is not None
    ended(service)
    make_due(service)
    assert run_if_due(service.context, stopping)
    assert existing(service) == set()


def test_of_workers_that_look_at_the_same_time_one_gets_the_run(service: Service) -> None:
    put(service, {})
    make_due(service)
    claims = []
    for _ in range(2):
        with transaction(service.app.state.engine) as session:
            claims.append(claim_run(session))
    assert claims == [True, False]


def test_after_a_time_without_workers_there_is_an_hour_to_correct_the_policy(service: Service) -> None:
    job_id = ended(service)
    put(service, {})
    make_due(service, for_s=3605)
    assert not run_if_due(service.context, threading.Event())
    assert existing(service) == {job_id}
    assert timedelta(minutes=59) < next_run(service) <= timedelta(hours=1)


def test_a_worker_that_stops_ends_its_run(service: Service) -> None:
    jobs = {ended(service) for _ in range(2)}
    put(service, {})
    make_due(service)
    stopping = threading.Event()
    stopping.set()
    assert run_if_due(service.context, stopping)
    assert existing(service) == jobs


def test_the_rounds_go_on_after_what_is_wrong_and_remove_what_was_left_behind(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stopping = threading.Event()
    problems: list[Exception] = [OperationalError("SELECT", {}, Exception("gone")), RuntimeError("a defect")]
    removed: list[object] = []
    real = retention.run_if_due

    def run_once(*arguments: object) -> bool:
        if problems:
            raise problems.pop(0)
        done = real(service.context, threading.Event())
        stopping.set()
        return done

    ended(service)
    put(service, {})
    make_due(service)
    monkeypatch.setattr(retention, "run_if_due", run_once)
    monkeypatch.setattr(retention, "remove_leftovers", lambda *_: removed.append(1))
    monkeypatch.setattr(retention, "CHECK_INTERVAL_S", 0.0)
    run_rounds(service.context, stopping)
    assert (existing(service), len(removed)) == (set(), 1)
    levels = [record.levelname for record in caplog.records if record.name == retention.__name__]
    assert levels == ["WARNING", "ERROR"]
