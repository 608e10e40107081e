"""Processes that share a run need the same data; where they run is recorded of each kind of machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.run.environment import Device, Environment
from core.run.identity import RunIdentity
from core.run.rundir import RunDir
from core.runtime import Runtime
from core.spec import parse_spec, resolve
from core.train.identity import environment_of
from tests.core.jobs import expert
from tests.core.processes import start_core
from tests.core.test_distributed import DEADLINE_S, free_port

SPEC = expert(epochs=1, batch_size=20, dataset={"name": "npz:a.npz", "split": {"regime": "full", "num_shards": 1}})


def write_images(folder: Path, *, changed_pixel: bool = False) -> Path:
    folder.mkdir()
    images = np.random.default_rng(5).integers(0, 255, (60, 8, 8), dtype=np.uint8)
    images[7, 3, 3] ^= changed_pixel
    np.savez(folder / "a.npz", images=images, labels=np.arange(60) % 3)
    return folder


def train_on(roots: Sequence[Path], folder: Path) -> list[str]:
    """Trains with one process for each data folder; returns what each that failed wrote."""
    (folder / "spec.json").write_text(json.dumps(SPEC))
    group = {"WORLD_SIZE": str(len(roots)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    words = ["train", str(folder / "spec.json"), "--run-dir", str(folder / "run"), "--device", "cpu", "--data-root"]
    files = [folder / f"errors-{rank}.txt" for rank in range(len(roots))]
    started = [
        start_core([*words, str(root)], file, group | {"RANK": str(rank), "XDG_CACHE_HOME": str(folder / "cache")})
        for rank, (root, file) in enumerate(zip(roots, files, strict=True))
    ]
    for process in started:
        process.join(DEADLINE_S)
    return [file.read_text() if process.exitcode else "" for process, file in zip(started, files, strict=True)]


@pytest.mark.processes
def test_processes_with_other_data_are_refused_and_equal_copies_are_not(tmp_path: Path) -> None:
    roots = [write_images(tmp_path / "one"), write_images(tmp_path / "two", changed_pixel=True)]
    errors = [" ".join(text.split()) for text in train_on(roots, tmp_path)]
    assert all("npz:a.npz is not the same for all processes: rank 0 on " in text for text in errors), errors
    assert not (tmp_path / "run/identity.json").exists()
    assert train_on([roots[0], write_images(tmp_path / "copy")], tmp_path) == ["", ""]
    stored = RunIdentity.read(RunDir(tmp_path / "run"))
    assert stored is not None
    [segment] = stored.segments
    assert segment.environment["processes"] == 2
    # Both ran here.
    assert "others" not in segment.environment


@dataclass(frozen=True)
class GroupOf(Runtime):
    """The first process of a group whose others run in these environments, given as changes of its own."""

    devices: tuple[Device, ...] = ()

    def gather_objects(self, value: Any) -> list[Any]:
        return [value, *(replace(value, device=device) for device in self.devices)]


def environment_with(*devices: Device) -> Environment:
    runtime = GroupOf(torch.device("cpu"), torch.float32, world_size=1 + len(devices), devices=devices)
    return environment_of(runtime, resolve(parse_spec(SPEC)))


def test_each_kind_of_machine_is_recorded_once() -> None:
    own, other = environment_with().device, Device("cpu", "another CPU", "avx2")
    same = environment_with(own, own)
    assert "others" not in same.to_json()
    mixed = environment_with(other, own, other)
    assert [environment.device for environment in mixed.others] == [other]
    assert mixed.ranks == (0, 1, 0, 1)
    assert Environment.from_json(json.loads(json.dumps(mixed.to_json()))) == mixed
    identity = RunIdentity("1" * 64, None).continued(0, mixed)
    assert [environment.device for environment in identity.environments] == [own, other]
    for earlier in (environment_with(own, own, own), environment_with(other, other, own)):
        assert mixed.differences(earlier) == ["other machines for some processes"]
    assert mixed.differences(environment_with(other, own, other)) == []
    alone = RunIdentity("1" * 64, None).continued(0, environment_with(own, own, own))
    assert alone.digest != identity.digest
