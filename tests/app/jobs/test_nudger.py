"""Nudges are sent on a thread: at once, each once, not to a broker that has just failed, and never waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.jobs import nudger
from app.jobs.nudger import PAUSE_S, Nudge, Nudger
from app.settings import Settings
from tests.app.api import EXPERT, Service

LIMIT_S = 60.0


class Broker:
    """What a nudger sends to: it can be slow, and it can fail."""

    def __init__(self) -> None:
        self.received: list[Nudge] = []
        self.is_down = False
        self.attempts = 0
        self.answers = threading.Event()
        self.answers.set()
        self.is_asked = threading.Event()

    def send(self, _settings: Settings, nudge: Nudge) -> None:
        self.attempts += 1
        self.is_asked.set()
        assert self.answers.wait(LIMIT_S)
        if self.is_down:
            raise ConnectionRefusedError("connection refused")
        self.received.append(nudge)


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    yield made
    made.answers.set()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def test_nudges_that_wait_are_sent_once(broker: Broker, settings: Settings) -> None:
    sender = Nudger(broker.send)
    broker.answers.clear()
    sender.submit(settings, "start")
    assert broker.is_asked.wait(LIMIT_S)
    # The one that is being sent may have been seen before these changes: they need another one.
    for _ in range(20):
        sender.submit(settings, "start")
        sender.submit(settings, "monitor")
    assert not sender.flush(0.0)
    broker.answers.set()
    assert sender.flush(LIMIT_S)
    assert broker.received == ["start", "start", "monitor"]


def test_a_broker_that_failed_is_left_alone_for_some_seconds(
    broker: Broker, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(nudger, "time", SimpleNamespace(monotonic=lambda: now))
    sender = Nudger(broker.send)

    def submit(to: Settings, nudge: Nudge = "start") -> None:
        sender.submit(to, nudge)
        assert sender.flush(LIMIT_S)

    broker.is_down = True
    for _ in range(3):
        submit(settings)
    assert broker.attempts == 1
    broker.is_down = False
    # Another service in this process has a broker of its own.
    submit(Settings(data_dir=tmp_path / "other"))
    now += PAUSE_S - 0.1
    submit(settings)
    assert broker.attempts == 2
    now += 0.2
    submit(settings)
    submit(settings, "monitor")
    assert broker.received == ["start", "start", "monitor"]


def test_what_waited_behind_a_failure_is_dropped(broker: Broker, settings: Settings) -> None:
    sender = Nudger(broker.send)
    broker.is_down = True
    broker.answers.clear()
    sender.submit(settings, "start")
    assert broker.is_asked.wait(LIMIT_S)
    sender.submit(settings, "monitor")
    broker.answers.set()
    assert sender.flush(LIMIT_S)
    assert broker.attempts == 1


def test_no_request_waits_for_the_broker(service: Service, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.answers.clear()
    monkeypatch.setattr("celery.Celery.send_task", lambda *_args, **_options: broker.send(service.settings, "start"))
    job_id = service.submit()
    assert service.post(f"/jobs/{job_id}/cancel").status_code == 202
    assert service.post("/sweeps", {"base": EXPERT, "grid": {"training.seed": [1, 2]}}).status_code == 201
    # The first message has still not been accepted.
    assert broker.is_asked.wait(LIMIT_S)
    assert broker.received == []
