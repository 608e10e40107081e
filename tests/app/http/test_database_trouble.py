"""What clients are answered while another transaction stands still, or PostgreSQL does not answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from ulid import ULID

from app.db import make_engine, now, postgres, transaction
from app.jobs.event_queries import record_events
from app.jobs.queries import locked_job
from app.models import State
from app.settings import Settings
from tests.app.api import Service
from tests.app.fixtures import service_on
from tests.parts import wait_until
from tests.silent_server import SilentServer

# Nothing may wait without limit; how long it may take depends on the machine.
LIMIT_S = 30.0


@pytest.fixture
def postgres_copy(postgres_server: str, migrated_postgres: str) -> str:
    """The URL of a migrated PostgreSQL database of this test."""
    name = f"t{ULID()}".lower()
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_postgres}".encode())
    return f"{postgres_server.rpartition('/')[0]}/{name}"


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory, postgres_copy: str) -> Iterator[Service]:
    """The application on PostgreSQL."""
    with service_on(Settings(data_dir=tmp_path_factory.mktemp("data"), database_url=postgres_copy)) as service:
        yield service


@contextmanager
def stopped_worker(service: Service, job_id: str, *, writes_events: bool = False) -> Iterator[None]:
    """A transaction of a worker about a job that does not go on, with events written or not."""
    engine = make_engine(service.settings.sqlalchemy_url)
    session_ends = pytest.raises(Exception) if writes_events else None
    try:
        with transaction(engine) as session:
            locked_job(session, job_id)
            if writes_events:
                record_events(session, [{"job_id": job_id, "time": now(), "type": "log", "data": {}}])
                for hook in session.info.pop("before_commit"):
                    hook()
            yield
    except Exception:
        if session_ends is None:
            raise
    finally:
        engine.dispose()


def test_a_worker_that_stands_still_holds_up_only_what_changes_its_job(service: Service) -> None:
    job_id = service.submit()
    service.transition(job_id, State.starting, State.running)
    with stopped_worker(service, job_id):
        began = time.monotonic()
        other = service.submit()
        assert service.post(f"/jobs/{other}/cancel").status_code == 202
        assert service.get("/jobs").status_code == 200
        refused = service.post(f"/jobs/{job_id}/cancel")
        assert time.monotonic() - began < LIMIT_S
    assert refused.status_code == 503
    assert "another change of the same thing" in refused.json()["detail"]
    assert refused.headers["Retry-After"]
    assert service.post(f"/jobs/{job_id}/cancel").status_code == 202


def test_a_worker_that_stands_still_between_its_events_and_the_commit_is_undone(service: Service) -> None:
    job_id = service.submit()
    service.transition(job_id, State.starting, State.running)
    with stopped_worker(service, job_id, writes_events=True):
        began = time.monotonic()
        wait_until(lambda: service.post(f"/jobs/{job_id}/cancel").status_code == 202, "the end of its transaction")
        service.submit()
        assert time.monotonic() - began < LIMIT_S
    types = [event["type"] for event in service.get(f"/jobs/{job_id}/events").json()["items"]]
    assert "log" not in types


def test_a_server_that_does_not_answer_is_not_waited_for(
    tmp_path_factory: pytest.TempPathFactory, postgres_copy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "ANSWER_LIMIT_S", 2.0)
    port = int(postgres_copy.rpartition("/")[0].rpartition(":")[2])
    with SilentServer(port) as proxy:
        url = postgres_copy.replace(f":{port}/", f":{proxy.port}/")
        with service_on(Settings(data_dir=tmp_path_factory.mktemp("data"), database_url=url)) as service:
            job_id = service.submit()
            proxy.silent.set()
            began = time.monotonic()
            answers = [service.get(f"/jobs/{job_id}"), service.post("/jobs", {}), service.get("/readyz", user=None)]
            assert time.monotonic() - began < LIMIT_S
            assert [answer.status_code for answer in answers] == [503] * 3
            assert "not available at the moment" in answers[0].json()["detail"]
            assert service.get("/healthz", user=None).status_code == 200
            proxy.silent.clear()
            wait_until(lambda: service.get(f"/jobs/{job_id}").status_code == 200, "the recovery")
            assert service.get("/readyz", user=None).status_code == 200
