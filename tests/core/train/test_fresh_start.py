"""A run without a checkpoint starts at its first step, and nothing of an earlier attempt gets into its result."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.components import load_component, read_component_manifest, well_known_path
from core.run.identity import RunIdentity
from core.run.rundir import RunDir
from core.train.result import Result
from tests.core.jobs import expert, run, run_logged
from tests.core.processes import CONTEXT
from tests.core.train.test_identity import emitted, with_torch, write_images

NPZ = {"name": "npz:a.npz", "split": {"regime": "full", "num_shards": 1}}


def write_noise(file: Path) -> None:
    images = np.random.default_rng(8).integers(0, 255, (60, 8, 8), dtype=np.uint8)
    np.savez(file, images=images, labels=np.arange(60) % 3)


def _train_until_killed(spec: dict[str, Any], folder: Path, stage: str) -> None:
    """Runs in a child process, which ends itself by SIGKILL: instead of a checkpoint, or in the third epoch."""
    monkeypatch = pytest.MonkeyPatch()

    def die(*_arguments: object, **_options: object) -> Path:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    if stage == "checkpoint":
        monkeypatch.setattr("core.train.fit.save_checkpoint", die)
    manifest = RunDir(folder / "run").components / "expert_0.json"
    steps = iter(range(10**6))

    def should_stop() -> bool:
        if stage == "third epoch" and next(steps) >= 2 * 3 and manifest.exists():
            die()
        return False

    run(spec, folder / "run", data_roots=[folder], should_stop=should_stop)


def train_until_killed(spec: dict[str, Any], folder: Path, stage: str) -> None:
    process = CONTEXT.Process(target=_train_until_killed, args=(spec, folder, stage))
    process.start()
    process.join(120.0)
    assert process.exitcode == -signal.SIGKILL
    run_dir = RunDir(folder / "run")
    # That is what an attempt without a checkpoint leaves.
    assert (run_dir.components / "expert_0.json").exists()
    assert not list(run_dir.checkpoints.glob("step-*"))


def content_of(result: Result) -> str:
    return str(result.components["expert_0"]["content_sha256"])


def digest_of(run_dir: Path) -> str:
    stored = RunIdentity.read(RunDir(run_dir))
    assert stored is not None
    return stored.digest


KILLS = {
    "checkpoint": expert(epochs=2, dataset=NPZ, batch_size=20),
    "third epoch": expert(epochs=4, dataset=NPZ, batch_size=20) | {"checkpoint": {"every_epochs": 100}},
}


@pytest.mark.processes
@pytest.mark.parametrize("stage", KILLS)
def test_a_component_of_other_data_does_not_become_the_result(stage: str, tmp_path: Path) -> None:
    write_images(tmp_path / "a.npz")
    train_until_killed(KILLS[stage], tmp_path, stage)
    write_noise(tmp_path / "a.npz")
    result, events = run_logged(KILLS[stage], tmp_path / "run", data_roots=[tmp_path])
    straight = run(KILLS[stage], tmp_path / "straight", data_roots=[tmp_path])
    assert content_of(result) == content_of(straight)
    assert result.metrics == straight.metrics
    assert digest_of(tmp_path / "run") == digest_of(tmp_path / "straight") == result.identity
    saved = read_component_manifest(tmp_path / "run/components", "expert_0")
    assert saved is not None
    assert saved["identity"] == result.identity
    message = "an earlier attempt, which differed in its data, left no checkpoint, so nothing of it is used"
    assert emitted(events, "log")[0]["message"] == f"starting at step 0: {message}"


@pytest.mark.processes
def test_a_component_of_another_specification_does_not_become_the_result(tmp_path: Path) -> None:
    write_images(tmp_path / "a.npz")
    train_until_killed(KILLS["third epoch"] | {"name": "first"}, tmp_path, "third epoch")
    spec = expert(epochs=1, dataset=NPZ, batch_size=20, seed=7)
    result, events = run_logged(spec, tmp_path / "run", data_roots=[tmp_path])
    assert content_of(result) == content_of(run(spec, tmp_path / "straight", data_roots=[tmp_path]))
    assert "differed in its specification or components" in emitted(events, "log")[0]["message"]


def without_checkpoint(spec: dict[str, Any], folder: Path) -> None:
    """Leaves what an ended job leaves once retention has deleted its checkpoints."""
    manifest = RunDir(folder / "run").components / "expert_0.json"
    assert run(spec, folder / "run", data_roots=[folder], should_stop=manifest.exists).state == "stopped"
    shutil.rmtree(RunDir(folder / "run").checkpoints)


def test_an_environment_without_a_checkpoint_leaves_no_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "a.npz")
    spec = expert(epochs=50, dataset=NPZ, batch_size=20)
    without_checkpoint(spec, tmp_path)
    with_torch(monkeypatch, "9.9")
    _, events = run_logged(spec, tmp_path / "run", data_roots=[tmp_path], should_stop=lambda: True)
    assert "differed in its environment" in emitted(events, "log")[0]["message"]
    assert not emitted(events, "alert")
    stored = RunIdentity.read(RunDir(tmp_path / "run"))
    assert stored is not None
    [segment] = stored.segments
    assert segment.environment["software"]["libraries"]["torch"] == "9.9"
    assert stored.complete


def test_the_file_of_an_earlier_attempt_stays_until_it_is_replaced(tmp_path: Path) -> None:
    """Another job may be about to start from it."""
    write_images(tmp_path / "a.npz")
    spec = expert(epochs=50, dataset=NPZ, batch_size=20)
    without_checkpoint(spec, tmp_path)
    components = RunDir(tmp_path / "run").components
    earlier = read_component_manifest(components, "expert_0")
    assert earlier is not None
    run(spec, tmp_path / "run", data_roots=[tmp_path], should_stop=lambda: True)
    assert read_component_manifest(components, "expert_0") is None
    file = components / earlier["files"]["safetensors"]["file"]
    assert load_component(file).sha256 == earlier["content_sha256"]
    write_noise(tmp_path / "a.npz")
    shutil.rmtree(RunDir(tmp_path / "run").checkpoints)
    run(spec, tmp_path / "run", data_roots=[tmp_path], should_stop=(components / "expert_0.json").exists)
    assert not file.exists()


def test_components_that_a_smaller_run_does_not_have_are_removed(tmp_path: Path) -> None:
    from tests.core.jobs import fusion

    complete = RunDir(tmp_path).components / "complete.json"
    assert run(fusion(epochs=50), tmp_path, should_stop=complete.exists).state == "stopped"
    shutil.rmtree(RunDir(tmp_path).checkpoints)
    run(expert(epochs=50), tmp_path, should_stop=lambda: True)
    assert not list((tmp_path / "components/blobs").glob("complete-*"))
    assert not (tmp_path / "components" / f"{well_known_path('complete')}.pth").exists()
    assert (tmp_path / "components" / f"{well_known_path('expert_0')}.pth").exists()
