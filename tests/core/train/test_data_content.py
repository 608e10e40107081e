"""Images that are read one by one may change while a run trains on them: it has no identity from then on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.components import read_component_manifest
from core.data.job_data import JobData, load_job_data
from core.reporting.protocol import EventKind, NullReporter
from core.run.identity import RunIdentity
from core.run.rundir import RunDir
from core.spec import EvaluateJob, parse_spec
from core.train.evaluate_job import evaluate_job
from core.train.result import Result, read_result
from tests.core.jobs import component, expert, fusion, run, run_logged
from tests.core.train.test_identity import emitted, write_images

SPEC = expert(
    epochs=2,
    batch_size=20,
    dataset={"name": "imagefolder:pets", "image_size": 8, "split": {"regime": "full", "num_shards": 1}},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    for label in ("cat", "cow", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for k in range(30):
            write_image(tmp_path / "pets" / label / f"{k}.png", rng)
    return tmp_path


def write_image(file: Path, rng: np.random.Generator) -> None:
    Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(file)


def train(
    folder: Path, during: Callable[[], object] = lambda: None, *, stop: bool = False
) -> tuple[Result, list[dict[str, Any]]]:
    """Calls `during` after each step; with `stop` the run ends after the first."""

    def should_stop() -> bool:
        during()
        return stop

    return run_logged(
        SPEC, folder / "run", data_roots=[folder], should_stop=should_stop, content_cache=folder / "cache"
    )


def change(folder: Path) -> None:
    write_image(folder / "pets/cat/3.png", np.random.default_rng(6))


def identity_of(folder: Path) -> RunIdentity:
    stored = RunIdentity.read(RunDir(folder / "run"))
    assert stored is not None
    return stored


def test_a_folder_that_changes_during_training_leaves_no_identity(folder: Path) -> None:
    result, events = train(folder, lambda: change(folder))
    assert (result.state, result.identity) == ("succeeded", "")
    assert read_result(folder / "run").identity == ""
    assert identity_of(folder).data_changed
    assert result.warnings == ["its files changed while the run read them: not bit-comparable to any other run"]
    [alert] = emitted(events, "alert")
    assert (alert["code"], alert["level"]) == ("changed_data", "warning")
    assert emitted(events, "identity")[-1]["run"]["data_changed"] is True
    saved = read_component_manifest(folder / "run/components", "expert_0")
    assert saved is not None
    assert saved["identity"] == ""


def test_an_npz_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "a.npz")
    real = load_job_data

    def load_while_it_changes(*arguments: Any) -> JobData:
        data = real(*arguments)
        write_images(tmp_path / "a.npz", changed_pixel=True)
        return data

    monkeypatch.setattr("core.train.data_content.load_job_data", load_while_it_changes)
    spec = expert(epochs=1, dataset={"name": "npz:a.npz", "split": {"regime": "full", "num_shards": 1}})
    with pytest.raises(ValueError, match=r"npz:a\.npz was changed while it was being read"):
        run(spec, tmp_path / "run", data_roots=[tmp_path])


def test_files_that_are_written_again_as_they_were_change_nothing(folder: Path) -> None:
    result, events = train(folder, (folder / "pets/cat/3.png").touch)
    assert result.identity == identity_of(folder).digest != ""
    assert not emitted(events, "alert")


def test_a_folder_that_is_gone_at_the_end_has_changed(folder: Path) -> None:
    result, _ = train(folder, lambda: (folder / "pets").rename(folder / "moved"), stop=True)
    assert result.state == "stopped"
    assert identity_of(folder).data_changed


def test_restoring_the_data_does_not_restore_the_identity(folder: Path) -> None:
    file = folder / "pets/cat/3.png"
    before = file.read_bytes()
    train(folder, lambda: change(folder), stop=True)
    file.write_bytes(before)
    result, events = train(folder)
    assert (result.state, result.identity) == ("succeeded", "")
    assert len({alert["key"] for alert in emitted(events, "alert")}) == 1


class ChangingReporter:
    """Changes the data when it hears that a job runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def emit(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        if kind == "state" and data["state"] == "running":
            change(self._folder)

    def close(self) -> None:
        pass


def test_a_folder_that_changes_during_an_evaluation_leaves_no_identity(folder: Path) -> None:
    run(fusion(epochs=1, dataset=SPEC["dataset"]), folder / "fusion", data_roots=[folder])
    source = {"from": {"path": str(component(folder / "fusion", "complete"))}}
    parts = {"experts": [source, source], "fusion": source, "head": source}
    spec = parse_spec({"kind": "evaluate", "dataset": SPEC["dataset"], "resources": {"cpus": 1}, **parts})
    assert isinstance(spec, EvaluateJob)
    evaluate = partial(evaluate_job, spec, data_roots=[folder])
    assert evaluate(folder / "first", reporter=NullReporter()).identity
    assert evaluate(folder / "second", reporter=ChangingReporter(folder)).identity == ""
    # The first result is that of the images before.
    with pytest.raises(ValueError, match="has changed since this run began"):
        evaluate(folder / "first", reporter=NullReporter())


@pytest.mark.parametrize("leaks", [False, True])
def test_test_images_that_are_training_images_are_named(tmp_path: Path, *, leaks: bool) -> None:
    images = np.random.default_rng(7).integers(0, 255, (60, 8, 8), dtype=np.uint8)
    arrays: dict[str, Any] = {"images": images[:48], "labels": np.arange(48) % 3, "test_labels": np.arange(12) % 3}
    np.savez(tmp_path / "a.npz", test_images=images[40:52] if leaks else images[48:], **arrays)
    spec = expert(epochs=1, dataset={"name": "npz:a.npz", "split": {"regime": "full", "num_shards": 1}})
    result, events = run_logged(spec, tmp_path / "run", data_roots=[tmp_path])
    expected = [
        "8 of 12 test images are training images too: what the model predicts for those shows what it remembers, not "
        "what it has learned"
    ]
    assert result.warnings == (expected if leaks else [])
    alerts = [alert["message"] for alert in emitted(events, "alert") if alert["code"] == "test_images_in_training"]
    assert alerts == (expected if leaks else [])
