"""What a machine trains on, as it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings
from worker.executors.devices import find_devices


@pytest.mark.parametrize(
    ("told", "devices"),
    [
        ("0,1", ["0", "1"]),
        (" 0, 2 ", ["0", "2"]),
        ("cpu", ["cpu"]),
        ("cpu,cpu", ["cpu:0", "cpu:1"]),
        ("cpu:0,cpu:1", ["cpu:0", "cpu:1"]),
    ],
)
def test_devices_are_what_was_named(told: str, devices: list[str], tmp_path: Path) -> None:
    assert find_devices(Settings(data_dir=tmp_path, devices=told)) == devices


@pytest.mark.parametrize("told", ["", "gpu", "0,", "cuda:0", "0;1", "-1", "cpu:"])
def test_devices_that_cannot_be_are_refused_at_the_start(told: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="give GPU numbers or CPU slots"):
        Settings(data_dir=tmp_path, devices=told)
