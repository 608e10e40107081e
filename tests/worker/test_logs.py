"""What the worker logs about an attempt names its job and its number."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.db import reading
from app.models import Attempt, State
from app.settings import Settings
from core.run.protocol import Outcome, OutcomeKind
from tests.app.api import Service
from tests.app.operations.records import Records
from worker import attempts, claims, reconcile
from worker.executors.base import Observation, ProcessState
from worker.executors.local import LocalExecutor


def json_records(service: Service, level: int = logging.WARNING) -> Records:
    return Records(Settings(data_dir=service.settings.data_dir, log_format="json"), level)


@pytest.fixture
def started(service: Service, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job whose first attempt has been started, without a process."""
    monkeypatch.setattr(LocalExecutor, "submit", lambda *_: [None])
    return service.submit()


def test_the_start_and_the_end_of_an_attempt_are_logged_at_the_level_info(service: Service, started: str) -> None:
    with json_records(service, logging.INFO) as records:
        assert claims.start_next(service.context, "local")
        with reading(service.app.state.engine) as session:
            attempt = session.get_one(Attempt, (started, 1))
            session.expunge(attempt)
        outcome, ended = Outcome(OutcomeKind.failed, None, "because"), Observation(ProcessState.ended)
        run = service.context.attempt((started, 1))
        attempts.end_attempt(service.context, service.context.executors["local"], attempt, run, outcome, ended)
    found = [record for record in records.all() if record["logger"].startswith("worker.")]
    assert [(record["message"], record["job_id"], record["attempt"]) for record in found] == [
        ("an attempt has been started", started, 1),
        ("an attempt has ended", started, 1),
    ]
    assert (found[0]["executor"], found[1]["outcome"], found[1]["state"]) == ("local", "failed", "failed")


def test_a_database_that_does_not_answer_is_one_line_for_each_attempt(
    service: Service, started: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert claims.start_next(service.context, "local")

    def fail(*_: Any) -> None:
        raise OperationalError("SELECT 1", {}, Exception("the server closed the connection"))

    monkeypatch.setattr(attempts, "monitor", fail)
    with json_records(service) as records:
        reconcile.monitor_local(service.context)
    (found,) = [record for record in records.all() if "could not be monitored" in record["message"]]
    assert (found["level"], found["job_id"], "exception" in found) == ("warning", started, False)


def test_whatever_goes_wrong_while_an_attempt_is_monitored_names_it(
    service: Service, started: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert claims.start_next(service.context, "local")

    def fail(*_: Any) -> None:
        logging.getLogger("core.run").warning("somewhere below")
        raise RuntimeError("a defect")

    monkeypatch.setattr(attempts, "monitor", fail)
    with json_records(service) as records:
        reconcile.monitor_local(service.context)
        logging.getLogger("a").warning("afterwards")
    ids = {record["message"]: (record.get("job_id"), record.get("attempt")) for record in records.all()}
    assert ids["somewhere below"] == (started, 1)
    assert [ids[message] for message in ids if "could not be monitored" in message] == [(started, 1)]
    assert ids["afterwards"] == (None, None)
    assert service.get(f"/jobs/{started}").json()["state"] == State.starting
