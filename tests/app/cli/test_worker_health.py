"""When the worker of a machine counts as alive."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from app.cli.worker_health import check_worker
from app.db import make_engine, now, transaction, upgrade
from app.models import Worker
from app.settings import Settings


def test_a_worker_is_alive_by_its_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path)
    upgrade(settings.sqlalchemy_url)
    missing = check_worker(settings, "gpu1")
    assert missing[:2] == ("worker gpu1", False)
    assert missing[2].startswith("it has never reported: start it")

    def seen(seconds_ago: float) -> tuple[str, bool, str]:
        with transaction(make_engine(settings.sqlalchemy_url)) as session:
            session.merge(Worker(host="gpu1", devices=["cpu:0"], seen_at=now() - timedelta(seconds=seconds_ago)))
        return check_worker(settings, "gpu1")

    assert seen(0)[1]
    assert not check_worker(settings, "gpu2")[1]
    _, is_alive, detail = seen(60)
    assert not is_alive
    assert detail.endswith(": start it, and read its log if that does not help")
    # Process 1 of a new container is younger than the heartbeat of the container before.
    monkeypatch.setattr(psutil.Process, "create_time", lambda _process: time.time() - 5)
    assert not seen(10)[1]
    assert seen(1)[1]


def test_without_its_database_a_worker_is_not_alive(tmp_path: Path) -> None:
    url = "postgresql://mcn:secret@127.0.0.1:1/mcn"
    _, is_alive, detail = check_worker(Settings(data_dir=tmp_path, database_url=url), "gpu1")
    assert not is_alive
    assert detail.startswith("127.0.0.1:1/mcn: ")
    assert "secret" not in detail
