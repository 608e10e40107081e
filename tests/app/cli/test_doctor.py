"""What `mcn doctor` says about settings that this machine cannot meet."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest

from app.cli import doctor
from app.db import make_engine, now, transaction, upgrade
from app.models import Worker
from app.settings import Settings


@pytest.mark.parametrize(
    ("devices", "num_gpus", "ok", "detail"),
    [
        ("7", 0, False, "7: there is no GPU 7; choose from cpu"),
        ("0,2", 2, False, "0,2: there is no GPU 2; choose from GPUs 0 to 1 and cpu"),
        ("1,cpu:0", 2, True, "1,cpu:0"),
    ],
)
def test_devices_that_this_machine_lacks_are_named(
    tmp_path: Path, devices: str, num_gpus: int, ok: bool, detail: str
) -> None:
    [check] = doctor._check_devices(Settings(data_dir=tmp_path, devices=devices), num_gpus)
    assert (check.name, check.ok, check.detail) == ("MCN_DEVICES", ok, detail)


def test_without_a_choice_of_devices_there_is_nothing_to_check(tmp_path: Path) -> None:
    assert list(doctor._check_devices(Settings(data_dir=tmp_path), 0)) == []


def test_too_little_disk_space_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=int(1.5e9), total=int(1e11))
    monkeypatch.setattr("app.jobs.disk_space.shutil.disk_usage", lambda _folder: usage)
    check = doctor._check_data_dir(Settings(data_dir=tmp_path))
    assert not check.ok
    assert "1.5 GB free: no job starts below 2.0 GB, and those that wait start by themselves at 2.5 GB" in check.detail
    assert "MCN_MIN_FREE_GB" in check.detail
    check = doctor._check_data_dir(Settings(data_dir=tmp_path, min_free_gb=1))
    assert check.ok
    assert check.detail.endswith("1.5 GB free; no job starts below 1.0 GB")


@pytest.mark.parametrize(
    ("status", "body", "ok", "detail"),
    [
        (200, {"status": "ready", "parts": [{"name": "disk", "ok": True, "detail": ""}]}, True, "responds at URL"),
        (
            200,
            {"status": "ready", "parts": [{"name": "worker", "ok": False, "detail": "none is alive"}]},
            True,
            "responds at URL, but worker: none is alive",
        ),
        # An older service has no parts.
        (200, {"status": "ready"}, True, "responds at URL"),
        (503, {"detail": "database: is not reachable"}, False, "URL is not ready: database: is not reachable"),
    ],
)
def test_what_the_service_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, body: dict[str, object], ok: bool, detail: str
) -> None:
    monkeypatch.setattr("app.cli.doctor.httpx.get", lambda *_, **__: httpx.Response(status, json=body))
    check = doctor._check_service(Settings(data_dir=tmp_path, url="http://service:1"))
    assert (check.ok, check.detail) == (ok, detail.replace("URL", "http://service:1"))


def test_a_worker_is_alive_by_its_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path)
    upgrade(settings.sqlalchemy_url)
    missing = doctor.check_worker(settings, "gpu1")
    assert (missing.name, missing.ok) == ("worker gpu1", False)
    assert missing.detail.startswith("it has never reported: start it")

    def seen(seconds_ago: float) -> doctor.Check:
        with transaction(make_engine(settings.sqlalchemy_url)) as session:
            session.merge(Worker(host="gpu1", devices=["cpu:0"], seen_at=now() - timedelta(seconds=seconds_ago)))
        return doctor.check_worker(settings, "gpu1")

    assert seen(0).ok
    assert not doctor.check_worker(settings, "gpu2").ok
    late = seen(60)
    assert not late.ok
    assert late.detail.endswith(": start it, and read its log if that does not help")
    # Process 1 of a new container is younger than the heartbeat of the container before.
    monkeypatch.setattr(psutil.Process, "create_time", lambda _process: time.time() - 5)
    assert not seen(10).ok
    assert seen(1).ok


def test_without_its_database_a_worker_is_not_alive(tmp_path: Path) -> None:
    url = "postgresql://mcn:secret@127.0.0.1:1/mcn"
    check = doctor.check_worker(Settings(data_dir=tmp_path, database_url=url), "gpu1")
    assert not check.ok
    assert check.detail.startswith("127.0.0.1:1/mcn: ")
    assert "secret" not in check.detail
