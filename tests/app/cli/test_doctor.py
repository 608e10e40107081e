"""What `mcn doctor` says about settings that this machine cannot meet."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from app.cli import doctor
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
    check = doctor._check_data_dir(Settings(data_dir=tmp_path, min_free_gb=90))
    assert "MCN_MIN_FREE_GB requires 90.0 GB free on a disk of 100.0 GB, so no job can start" in check.detail
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
