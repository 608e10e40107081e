"""A run continues with its own data alone, and says where another environment went on with it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.components import read_component_manifest
from core.run.durable import read_manifest
from core.run.environment import Device, Environment, Software
from core.run.identity import RunIdentity
from core.run.rundir import RunDir
from core.train import identity as identity_module
from core.train.result import Result, read_result
from tests.core.jobs import expert, run_logged


def write_images(file: Path, *, invert: bool = False, changed_pixel: bool = False) -> None:
    rng = np.random.default_rng(5)
    images = rng.integers(0, 255, (60, 8, 8), dtype=np.uint8)
    if changed_pixel:
        images[7, 3, 3] ^= 1
    np.savez(file, images=255 - images if invert else images, labels=np.arange(60) % 3)


def on_npz(**training: Any) -> dict[str, Any]:
    spec = expert(epochs=2)
    split = {"regime": "full", "num_shards": 1}
    return spec | {"dataset": {"name": "npz:a.npz", "split": split}, "training": spec["training"] | training}


def train(
    tmp_path: Path, *, stop: bool = False, cache: bool = True, **training: Any
) -> tuple[Result, list[dict[str, Any]]]:
    """Trains in `run` until the end, or for one step; returns the result and the events of all attempts."""
    return run_logged(
        on_npz(**training),
        tmp_path / "run",
        data_roots=[tmp_path],
        should_stop=lambda: stop,
        content_cache=tmp_path / "cache" if cache else None,
    )


def emitted(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in events if event["kind"] == kind]


def test_inverted_pixels_are_refused_with_the_array_named(tmp_path: Path) -> None:
    write_images(tmp_path / "a.npz")
    train(tmp_path, stop=True)
    write_images(tmp_path / "a.npz", invert=True)
    with pytest.raises(ValueError, match=r"npz:a\.npz has changed since this run began \(images changed\).*new run"):
        train(tmp_path)
    write_images(tmp_path / "a.npz")
    assert train(tmp_path)[0].state == "succeeded"


def test_one_changed_pixel_is_refused_without_a_cache_too(tmp_path: Path) -> None:
    write_images(tmp_path / "a.npz")
    train(tmp_path, stop=True, cache=False)
    write_images(tmp_path / "a.npz", changed_pixel=True)
    with pytest.raises(ValueError, match=r"npz:a\.npz has changed since this run began, so"):
        train(tmp_path, cache=False)


def test_the_result_of_other_data_is_not_returned(tmp_path: Path) -> None:
    write_images(tmp_path / "a.npz")
    result, _ = train(tmp_path)
    assert train(tmp_path)[0] == result
    write_images(tmp_path / "a.npz", changed_pixel=True)
    with pytest.raises(ValueError, match="has changed since this run began"):
        train(tmp_path)
    # Data that have been moved away are not others.
    (tmp_path / "a.npz").unlink()
    assert train(tmp_path)[0] == result


def test_equal_runs_have_one_digest_in_result_checkpoint_and_components(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write_images(folder / "a.npz")
        run_dir = RunDir(folder / "run")
        train(folder)
        manifests = [read_manifest(file) for file in sorted(run_dir.checkpoints.glob("step-*/manifest.json"))]
        component = read_component_manifest(run_dir.components, "expert_0")
        assert component is not None
        assert manifests[1]["parent"] == manifests[0]["sha256"]
        stored = RunIdentity.read(run_dir)
        assert stored is not None
        found = {read_result(run_dir.path).identity, component["identity"], stored.digest}
        digests.append(found | {manifest["identity"] for manifest in manifests})
    assert digests[0] == digests[1]
    assert len(digests[0]) == 1


def with_torch(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """Makes the next attempt run on another version of PyTorch."""
    real = identity_module.environment_of

    def other(*arguments: Any) -> Environment:
        environment = real(*arguments)
        libraries = environment.software.libraries | {"torch": version}
        return replace(environment, software=replace(environment.software, libraries=libraries))

    monkeypatch.setattr(identity_module, "environment_of", other)


def test_another_version_of_torch_continues_and_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "a.npz")
    train(tmp_path, stop=True)
    with_torch(monkeypatch, "9.9")
    result, events = train(tmp_path)
    assert result.state == "succeeded"
    [alert] = emitted(events, "alert")
    warning = alert["message"]
    assert (alert["code"], alert["level"], alert["step"]) == ("changed_environment", "warning", 1)
    assert "from step 1 on torch 9.9 instead of " in warning
    assert "not bit-comparable" in warning
    assert result.warnings == read_result(tmp_path / "run").warnings == [warning]
    stored = RunIdentity.read(RunDir(tmp_path / "run"))
    assert stored is not None
    assert [segment.step for segment in stored.segments] == [0, 1]
    report = emitted(events, "identity")[-1]
    assert report["resumed_from"]["step"] == 1
    assert report["environment"]["software"]["libraries"]["torch"] == "9.9"


def test_another_version_of_torch_is_refused_where_determinism_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "a.npz")
    train(tmp_path, stop=True, deterministic=True)
    with_torch(monkeypatch, "9.9")
    with pytest.raises(
        ValueError,
        match=r"differs from the one that computed the steps before 1: torch 9\.9 instead of .* start a new run",
    ):
        train(tmp_path, deterministic=True)


class KilledError(Exception):
    """Stands for a signal that leaves no time for a checkpoint."""


def test_an_environment_whose_component_is_kept_is_kept(tmp_path: Path) -> None:
    """It was killed before its next checkpoint, but its component may be the best until the end."""
    write_images(tmp_path / "a.npz")
    spec = on_npz(epochs=50) | {"checkpoint": {"every_epochs": 100}}
    here = partial(run_logged, spec, tmp_path / "run", data_roots=[tmp_path])
    here(should_stop=lambda: True)

    def killed() -> bool:
        # The component of step 1 has weights that the first attempt computed.
        manifest = read_component_manifest(tmp_path / "run/components", "expert_0")
        if manifest and manifest["step"] > 1:
            raise KilledError
        return False

    with pytest.MonkeyPatch.context() as patch:
        with_torch(patch, "9.9")
        with pytest.raises(KilledError):
            here(should_stop=killed)
    here(should_stop=lambda: True)
    stored = RunIdentity.read(RunDir(tmp_path / "run"))
    assert stored is not None
    versions = [part.environment["software"]["libraries"]["torch"] for part in stored.segments]
    assert versions[1] == "9.9" != versions[0]


def test_a_run_of_an_earlier_version_is_continued_and_its_record_is_incomplete(tmp_path: Path) -> None:
    write_images(tmp_path / "a.npz")
    train(tmp_path, stop=True)
    run_dir = RunDir(tmp_path / "run")
    run_dir.identity.unlink()
    assert train(tmp_path)[0].state == "succeeded"
    assert json.loads(run_dir.identity.read_text())["complete"] is False


def segments(*states: tuple[int, str, int]) -> list[tuple[int, str]]:
    """The segments after attempts that resumed at a step on a version of torch, with components up to a third step."""
    identity = RunIdentity("1" * 64, None)
    for step, version, furthest in states:
        environment = Environment(Software("c0de", {"torch": version}), Device("cpu", "a CPU", ""), "float32", 1, 1)
        identity = identity.continued(step, environment, furthest=furthest)
    return [(part.step, part.environment["software"]["libraries"]["torch"]) for part in identity.segments]


def test_an_attempt_that_left_nothing_leaves_no_segment() -> None:
    assert segments((0, "1", 0), (100, "2", 100), (100, "1", 100)) == [(0, "1")]


def test_steps_that_are_done_again_belong_to_who_did_them_last() -> None:
    assert segments((0, "1", 0), (100, "2", 100), (50, "2", 50)) == [(0, "1"), (50, "2")]
    # From the first step on, nothing of the others is left.
    assert segments((0, "1", 0), (100, "2", 100), (0, "2", 0)) == [(0, "2")]


def test_an_attempt_whose_components_are_kept_is_kept() -> None:
    assert segments((0, "1", 0), (100, "2", 100), (100, "1", 150)) == [(0, "1"), (100, "2")]
