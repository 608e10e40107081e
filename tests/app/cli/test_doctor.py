"""What `mcn doctor` says about settings that this machine cannot meet."""

from __future__ import annotations

from pathlib import Path

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
