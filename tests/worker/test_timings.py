"""What a worker's heartbeat says of how long its rounds take and how late it reads event logs."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from app.db import now, reading
from app.models import Attempt, State, Worker
from tests.app.api import EventFile, Service
from worker import reconcile
from worker.ingest import ingest
from worker.timings import Timings


def stored(service: Service) -> dict[str, float]:
    with reading(service.app.state.engine) as session:
        row = session.get(Worker, "here")
        assert row is not None
        assert row.timings is not None
        return row.timings


def test_the_latest_round_of_each_kind_and_the_largest_lag_since_the_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 10.0, 10.5, 20.0, 21.0])
    monkeypatch.setattr("worker.timings.time", SimpleNamespace(monotonic=lambda: next(clock)))
    measured = Timings()
    for kind in ("local", "local", "remote"):
        with measured.measured(kind):
            pass
    for lag_s in (1.0, 3.0, 2.0):
        measured.record_lag(lag_s)
    assert measured.take() == {"local_round_s": 0.5, "remote_round_s": 1.0, "ingest_lag_s": 3.0}
    assert measured.take() == {"local_round_s": 0.5, "remote_round_s": 1.0, "ingest_lag_s": 0.0}


def test_a_round_that_fails_is_measured_too() -> None:
    measured = Timings()
    with pytest.raises(ValueError), measured.measured("local"):
        raise ValueError
    assert "local_round_s" in measured.take()


def test_the_heartbeat_stores_the_rounds_before_it(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "HEARTBEAT", timedelta(0))
    reconcile.reconcile_local(service.context)
    assert stored(service) == {"ingest_lag_s": 0.0}
    reconcile.reconcile_remote(service.context)
    reconcile.reconcile_local(service.context)
    assert stored(service).keys() == {"local_round_s", "remote_round_s", "ingest_lag_s"}


def test_the_age_of_the_oldest_event_of_a_block_is_its_lag(service: Service) -> None:
    job_id = service.submit()
    service.transition(job_id, State.starting, attempt=1)
    attempt = Attempt(job_id=job_id, number=1, executor="local", host="here", devices=[])
    path = service.context.attempt((job_id, 1)).events
    file = EventFile(path)
    file.add("log", {"level": "info", "message": "old"})
    old = (now() - timedelta(seconds=90)).isoformat()
    written = path.read_text()
    path.write_text(written.replace(written.split('"time": "')[1].split('"')[0], old))
    file.add("log", {"level": "info", "message": "new"})
    measured = Timings()
    ingest(service.app.state.engine, attempt, path, measured)
    assert measured.take()["ingest_lag_s"] == pytest.approx(90, abs=30)
