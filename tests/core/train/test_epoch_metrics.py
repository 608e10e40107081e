"""What is logged once an epoch."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.core.jobs import component, expert, fusion, run, run_logged


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
