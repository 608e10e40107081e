"""What is logged once an epoch."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.augment import normalize
from core.data.job_data import load_job_data, training_sample
from core.losses.ambiguity import Decomposition, decompose
from core.model.assemble import build_model, complete_spec
from core.runtime import Runtime
from core.spec import FusionJob, parse_spec
from core.train.evaluate import evaluate
from core.train.evaluation_metrics import Evaluation
from tests.core.jobs import component, expert, fusion, run, run_logged
from tests.core.train.test_fit import components, same, weights

# Experts of which a training step sees others than a validation: dropout of features, mixed and erased images.
AUGMENTED = fusion(
    count=3,
    dataset={"name": "digits", "split": {"regime": "iid", "num_shards": 4, "holdout": 0.3, "seed": 1}},
    fusion={"expert_dropout": 0.3},
    epochs=2,
    precision="float32",
    components={"experts": {"lr": 0.01}},
)


def epoch_values(events: list[dict[str, Any]]) -> list[dict[str, float]]:
    """What is logged at the end of each epoch."""
    values = [event["data"]["values"] for event in events if event["kind"] == "metrics"]
    return [of_epoch for of_epoch in values if "val/accuracy_fused" in of_epoch]


def test_the_decomposition_holds_in_every_epoch_and_its_gap_is_collusion(tmp_path: Path) -> None:
    _, events = run_logged(fusion(count=3, epochs=2), tmp_path)
    for values in epoch_values(events):
        for split in ("train", "val"):
            difference = values[f"{split}/average_loss"] - values[f"{split}/ambiguity"]
            assert values[f"{split}/ensemble_loss"] == pytest.approx(difference, abs=1e-6)
            assert values[f"{split}/ambiguity"] > 0
        assert values["val/collusion"] == values["train/ambiguity"] - values["val/ambiguity"]


def test_the_ambiguity_on_training_images_is_measured_as_that_on_validation_images(tmp_path: Path) -> None:
    """With the weights at the end of the epoch, in evaluation mode, on plain images."""
    spec = complete_spec(parse_spec(AUGMENTED), {})
    assert isinstance(spec, FusionJob)
    _, events = run_logged(AUGMENTED, tmp_path)
    data, runtime = load_job_data(spec, []), Runtime(torch.device("cpu"), torch.float32)
    rows = training_sample(data, spec, runtime, num_images=len(data.part.val)).indices
    model = build_model(spec, data.shape)
    model.load_state_dict(weights(tmp_path))
    last = epoch_values(events)[-1]
    for split, indices in (("train", rows), ("val", data.part.val)):
        images = torch.stack([torch.from_numpy(data.dataset.train.image(index)) for index in indices])
        labels = data.dataset.train.labels[indices]
        with torch.no_grad():
            outputs = model.eval()(normalize(images, data.dataset.mean, data.dataset.std))
        expected = decompose(outputs.experts, torch.from_numpy(labels))._asdict()
        logged = {key: last[f"{split}/{key}"] for key in expected}
        assert logged == pytest.approx({key: value.mean().item() for key, value in expected.items()}, abs=1e-5)


def test_the_sample_of_training_images_is_fixed_and_small(tmp_path: Path) -> None:
    spec = complete_spec(parse_spec(AUGMENTED), {})
    data, runtime = load_job_data(spec, []), Runtime(torch.device("cpu"), torch.float32)
    num_train = len(data.part.train)

    def rows(num_images: int, rank: int = 0, world_size: int = 1) -> list[int]:
        part = replace(runtime, rank=rank, world_size=world_size)
        batches = training_sample(data, spec, part, num_images=num_images).epoch(0)
        return [int(row) for batch in batches for row in batch]

    assert rows(10) == rows(10)
    assert len(rows(10)) == 10
    assert set(rows(10)) < set(data.part.train.tolist())
    # As many as there are validation images, but at most a quarter of the training images.
    assert len(rows(10**6)) == num_train // 4
    assert sorted(rows(10, 0, 2) + rows(10, 1, 2)) == rows(10)


def test_measuring_on_training_images_changes_no_bit_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, events = run_logged(AUGMENTED, tmp_path / "with")
    draws = torch.random.get_rng_state()

    def evaluate_without_ambiguity(*arguments: Any, **options: Any) -> Evaluation:
        """Without it on validation images, there is no pass over training images."""
        passes.append(measured := evaluate(*arguments, **options))
        return replace(measured, metrics={key: measured.metrics[key] for key in measured.metrics if key != "ambiguity"})

    passes: list[Evaluation] = []
    monkeypatch.setattr("core.train.fit.evaluate", evaluate_without_ambiguity)
    _, without = run_logged(AUGMENTED, tmp_path / "without")
    assert torch.equal(torch.random.get_rng_state(), draws)
    assert same(weights(tmp_path / "with"), weights(tmp_path / "without"))
    assert components(tmp_path / "with") == components(tmp_path / "without")
    assert len(passes) == len(epoch_values(events)) == 2
    measured = {f"train/{key}" for key in Decomposition._fields} | {"val/collusion", "val/ambiguity"}
    for ours, theirs in zip(epoch_values(events), epoch_values(without), strict=True):
        assert {key: value for key, value in ours.items() if key not in measured} == theirs


def test_one_expert_has_no_ambiguity(tmp_path: Path) -> None:
    _, events = run_logged(fusion(count=1, epochs=1), tmp_path)
    [values] = epoch_values(events)
    assert not [key for key in values if "ambiguity" in key or "collusion" in key or "ensemble" in key]


def test_experts_that_know_different_classes_have_no_ambiguity(tmp_path: Path) -> None:
    """Frozen experts keep their heads: here for five classes each."""
    dataset = {"name": "digits", "split": {"regime": "class_shards", "num_shards": 2, "holdout": 0.4, "seed": 42}}
    for shard in (0, 1):
        run(expert(shard, dataset, epochs=1), tmp_path / f"e{shard}")
    named = {"experts": [{"from": {"path": str(component(tmp_path / f"e{k}", "expert_0"))}} for k in (0, 1)]}
    spec = fusion(dataset=dataset, epochs=1, components={"experts": {"frozen": True}}) | named
    _, events = run_logged(spec, tmp_path / "joint")
    [values] = epoch_values(events)
    assert not [key for key in values if "ambiguity" in key or "average_loss" in key]


def test_a_run_that_resumes_within_an_epoch_logs_the_means_of_the_whole_epoch(tmp_path: Path) -> None:
    _, straight = run_logged(fusion(epochs=1), tmp_path / "straight")
    steps = itertools.count(1)
    run_logged(fusion(epochs=1), tmp_path / "stopped", should_stop=lambda: next(steps) >= 3)
    _, events = run_logged(fusion(epochs=1), tmp_path / "stopped")
    assert epoch_values(events) == epoch_values(straight)
