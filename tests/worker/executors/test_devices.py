"""The devices that a machine trains on, by its settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings
from worker.executors.devices import find_devices


@pytest.mark.parametrize(
    ("setting", "devices"),
    [
        ("0,1", ["0", "1"]),
        (" 0, 2 ", ["0", "2"]),
        ("cpu", ["cpu"]),
        ("cpu,cpu", ["cpu:0", "cpu:1"]),
        ("cpu:0,cpu:1", ["cpu:0", "cpu:1"]),
    ],
)
def test_the_setting_names_the_devices(setting: str, devices: list[str], tmp_path: Path) -> None:
    assert find_devices(Settings(data_dir=tmp_path, devices=setting)) == devices


@pytest.mark.parametrize("setting", ["", "gpu", "0,", "cuda:0", "0;1", "-1", "cpu:"])
def test_an_invalid_device_is_refused_at_the_start(setting: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="use GPU numbers or CPU slots"):
        Settings(data_dir=tmp_path, devices=setting)
