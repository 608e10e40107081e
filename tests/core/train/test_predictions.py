"""Stored predictions: what is in the files, when they are left out, and that nothing else changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.data import load_dataset
from core.data.dataset import Images
from core.data.job_data import load_job_data
from core.model.model import MultiExpertModel
from core.reporting.protocol import NullReporter
from core.runtime import Runtime
from core.spec import DatasetSpec, EvaluateJob, parse_spec, parse_stored
from core.train import predictions
from core.train.evaluate_job import evaluate_job
from core.train.predictions import SplitRecorder, Storage, storage_of
from core.train.result import Result
from tests.core.jobs import DIGITS, component, expert, fusion, run

MIB = 1 << 20


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Result]:
    """A fusion job on two experts that know some classes each, in float32."""
    folder = tmp_path_factory.mktemp("fusion")
    for k in range(2):
        run(expert(k, epochs=1, precision="float32"), folder / f"expert_{k}")
    sources = [{"from": {"path": str(component(folder / f"expert_{k}", "expert_0"))}} for k in range(2)]
    spec = fusion(dataset=DIGITS, epochs=1, precision="float32") | {"experts": sources}
    return folder / "fusion", spec, run(spec, folder / "fusion")


def load(run_dir: Path, split: str) -> dict[str, np.ndarray]:
    with np.load(run_dir / f"predictions/{split}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_every_path_has_logits_of_every_image_in_the_order_of_the_dataset(
    started: tuple[Path, dict[str, Any], Result],
) -> None:
    run_dir, _, result = started
    digits = load_dataset(DatasetSpec(name="digits"), [])
    val = load_job_data(parse_stored(json.loads((run_dir / "spec.json").read_text())), []).part.val
    for split, images, ids in (("test", digits.test, np.arange(360)), ("val", digits.train, val)):
        arrays = load(run_dir, split)
        assert arrays["ids"].tolist() == sorted(ids)
        assert (arrays["labels"] == images.labels[arrays["ids"]]).all()
        entry = result.predictions[split]
        before = [len(np.unique(arrays[f"classes_expert_{k}_before"])) for k in range(2)]
        widths = {"fused": 10, "expert_0": 10, "expert_1": 10}
        widths |= {f"expert_{k}_before": count for k, count in enumerate(before)}
        assert entry["paths"] == {path: [len(ids), width] for path, width in widths.items()}
        assert max(before) < 10
        assert {name for name in arrays if name.startswith("classes_")} == {
            "classes_expert_0_before",
            "classes_expert_1_before",
        }
        assert all(arrays[f"logits_{path}"].dtype == np.float32 for path in widths)
        content = (run_dir / entry["file"]).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256"], entry["bytes"])


def test_the_accuracies_of_the_result_follow_from_the_files(started: tuple[Path, dict[str, Any], Result]) -> None:
    run_dir, _, result = started
    arrays = load(run_dir, "test")
    for path in result.predictions["test"]["paths"]:
        best = arrays[f"logits_{path}"].argmax(axis=1)
        classes = arrays.get(f"classes_{path}", np.arange(10))
        assert (arrays[f"predicted_{path}"] == classes[best]).all()
        accuracy = (arrays[f"predicted_{path}"] == arrays["labels"]).mean()
        assert accuracy == pytest.approx(result.metrics[f"test/accuracy_{path}"], abs=1e-6)
    logits = torch.from_numpy(arrays["logits_fused"]).double()
    nll = torch.nn.functional.cross_entropy(logits, torch.from_numpy(arrays["labels"]))
    assert nll.item() == pytest.approx(result.metrics["test/nll"], abs=1e-6)


def test_storing_predictions_changes_no_weight_and_no_figure(
    started: tuple[Path, dict[str, Any], Result], tmp_path: Path
) -> None:
    _, spec, result = started
    without = run(spec | {"evaluation": {"store_predictions": False}}, tmp_path)
    assert (without.metrics, without.per_class) == (result.metrics, result.per_class)
    for name, saved in without.components.items():
        assert saved["content_sha256"] == result.components[name]["content_sha256"]
    assert without.predictions["test"] == {"absent": "evaluation.store_predictions is false"}
    assert not (tmp_path / "predictions").exists()


def test_an_evaluate_job_stores_what_the_job_that_trained_the_model_stored(
    started: tuple[Path, dict[str, Any], Result], tmp_path: Path
) -> None:
    run_dir, spec, _ = started
    whole = {"from": {"path": str(component(run_dir, "complete"))}}
    body = {"kind": "evaluate", "experts": [whole, whole], "fusion": whole, "head": whole, "dataset": spec["dataset"]}
    job = parse_spec(body | {"resources": {"cpus": 1}})
    assert isinstance(job, EvaluateJob)
    evaluate_job(job, tmp_path, reporter=NullReporter(), data_roots=[])
    for split in ("val", "test"):
        ours, theirs = load(tmp_path, split), load(run_dir, split)
        assert (ours["ids"] == theirs["ids"]).all()
        for path in ("fused", "expert_0", "expert_1"):
            assert ours[f"logits_{path}"] == pytest.approx(theirs[f"logits_{path}"], abs=1e-5)


def test_an_expert_of_some_classes_says_which(tmp_path: Path) -> None:
    run(expert(1, epochs=1), tmp_path)
    for split in ("val", "test"):
        arrays = load(tmp_path, split)
        assert arrays["logits_expert_0"].shape[1] == len(arrays["classes_expert_0"]) < 10
        # Labels are those of the dataset, not positions among the expert's own classes.
        expected = np.arange(10) if split == "test" else arrays["classes_expert_0"]
        assert np.unique(arrays["labels"]).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("requested", "mebibytes", "dtype"),
    [
        ("auto", 64, torch.float32),
        ("auto", 65, torch.float16),
        ("auto", 1024, torch.float16),
        ("auto", 1025, None),
        (True, 1025, torch.float16),
        (True, 1, torch.float32),
        (False, 1, None),
    ],
)
def test_large_logits_are_stored_smaller_or_only_on_request(
    requested: Any, mebibytes: int, dtype: torch.dtype | None
) -> None:
    storage = storage_of(requested, mebibytes * MIB // 4)
    assert storage.dtype == dtype
    assert bool(storage.why) == (dtype is None)
    if requested == "auto" and dtype is None:
        assert "1.0 GiB" in storage.why
        assert "evaluation.store_predictions: true" in storage.why


class Fixed(MultiExpertModel):
    """Logits that are given, whatever the images."""

    def __init__(self, logits: torch.Tensor) -> None:
        torch.nn.Module.__init__(self)
        self.logits = logits

    def forward(self, images_BCHW: torch.Tensor, present_BK: torch.Tensor | None = None) -> Any:
        from core.model.model import Outputs

        return Outputs(None, [self.logits[images_BCHW]])


class Ordered:
    """The batches of one process: the images of `ids`, two at a time."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids

    def indices(self, epoch: int) -> np.ndarray:
        return np.array(self.ids)

    def epoch(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in torch.tensor(self.ids).split(2):
            yield batch, batch


def recorded(logits: torch.Tensor, ids: list[int], dtype: torch.dtype, file: Path) -> dict[str, np.ndarray]:
    runtime = Runtime(torch.device("cpu"), torch.float32)
    batches: Any = Ordered(ids)
    images = Images(np.arange(len(logits)))
    recorder = SplitRecorder(images, batches, Storage(dtype), num_classes=2, dataset="x", runtime=runtime)
    model = Fixed(logits)
    with recorder.record(model, ["expert_0"], [None]):
        for rows, _ in batches.epoch(0):
            model(rows)
    recorder.write(file)
    with np.load(file) as arrays:
        return dict(arrays)


def test_rows_are_sorted_by_image(tmp_path: Path) -> None:
    logits = torch.tensor([[0.0, 1.0], [2.0, 1.0], [3.0, 4.0], [9.0, 5.0]])
    arrays = recorded(logits, [3, 0, 2], torch.float32, tmp_path / "x.npz")
    assert arrays["ids"].tolist() == arrays["labels"].tolist() == [0, 2, 3]
    assert arrays["logits_expert_0"].tolist() == logits[[0, 2, 3]].tolist()


def test_float16_keeps_the_prediction_and_what_is_not_finite(tmp_path: Path) -> None:
    logits = torch.tensor([[1.0, 1.0001], [1e6, 0.0], [float("nan"), 0.0], [float("-inf"), 0.0]])
    arrays = recorded(logits, [0, 1, 2, 3], torch.float16, tmp_path / "x.npz")
    assert arrays["logits_expert_0"].dtype == np.float16
    # Rounded, the two logits are equal.
    assert arrays["logits_expert_0"][0].tolist() == [1.0, 1.0]
    assert arrays["predicted_expert_0"][0] == 1
    assert arrays["logits_expert_0"][1, 0] == 65504
    assert np.isnan(arrays["logits_expert_0"][2, 0])
    assert np.isneginf(arrays["logits_expert_0"][3, 0])


def test_a_second_pass_while_recording_is_a_bug(tmp_path: Path) -> None:
    runtime = Runtime(torch.device("cpu"), torch.float32)
    batches: Any = Ordered([0, 1])
    recorder = SplitRecorder(
        Images(np.arange(2)), batches, Storage(torch.float32), num_classes=2, dataset="x", runtime=runtime
    )
    model = Fixed(torch.eye(2))

    def measure_twice() -> None:
        with recorder.record(model, ["expert_0"], [None]):
            model(torch.tensor([0, 1]))
            model(torch.tensor([0, 1]))

    with pytest.raises(AssertionError, match="4 rows for 2 images"):
        measure_twice()
    assert not model._forward_hooks


def test_sizes_are_counted_over_all_paths_of_a_split(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """360 test images with 10 logits on each of three paths exceed 40,000 bytes; the validation images do not."""
    monkeypatch.setattr(predictions, "FLOAT16_ABOVE_BYTES", 40_000)
    result = run(fusion(epochs=1), tmp_path)
    assert result.predictions["test"]["dtype"] == "float16"
    assert result.predictions["val"]["dtype"] == "float32"
    monkeypatch.setattr(predictions, "OFF_ABOVE_BYTES", 40_000)
    assert storage_of("auto", 10_001).dtype is None
