"""Two processes that share every batch give the numbers of one process."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.augment import normalize
from core.components import load_component, read_component_manifest
from core.data.job_data import load_job_data, selection_batches
from core.model.model import MultiExpertModel
from core.model.modules import build_module
from core.reporting.event_log import read_events
from core.runtime import Runtime
from core.spec import parse_stored
from core.train.evaluate import evaluate
from tests.core.jobs import component, fusion, run_logged
from tests.core.processes import start_core
from tests.core.train.test_fit import weights

DEADLINE_S = 300.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def train_with(processes: int, spec: dict[str, Any], run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "given.json").write_text(json.dumps(spec))
    port = str(free_port())
    words = ["train", str(run_dir / "given.json"), "--run-dir", str(run_dir), "--device", "cpu"]
    group = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        start_core(words, run_dir / f"errors-{rank}.txt", group | {"RANK": str(rank)}) for rank in range(processes)
    ]
    for rank, process in enumerate(started):
        process.join(DEADLINE_S)
        assert process.exitcode == 0, (run_dir / f"errors-{rank}.txt").read_text()


def series(run_dir: Path, key: str = "train/loss_total") -> list[float]:
    events = [event for event in read_events(run_dir / "events.jsonl") if event["kind"] == "metrics"]
    return [event["data"]["values"][key] for event in events if key in event["data"]["values"]]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_two_processes_give_the_numbers_of_one(optimizer: str, tmp_path: Path) -> None:
    """Without BatchNorm, dropout and mixing, whose statistics, masks and partners are each process's own.

    The two differ by rounding alone. With another seed the input of some ReLU may lie within rounding of zero: its
    gradient is then all or nothing, and weights differ by about 1e-5 after two epochs. So do those of one process that
    starts from weights changed in their last bit. In float64 the largest difference is 6e-17.
    """
    experts, rest = (0.01, 0.01) if optimizer == "sgd" else (1e-4, 5e-4)
    spec = fusion(
        count=2,
        epochs=2,
        seed=7,
        precision="float32",
        fusion={"dropout": 0.0, "expert_dropout": 0.3},
        augmentation={"mixup_alpha": 0, "cutmix_alpha": 0},
        components={
            "experts": {"accumulation_steps": 2, "optimizer": optimizer, "lr": experts},
            "fusion": {"optimizer": optimizer, "lr": rest},
            "head": {"optimizer": optimizer, "lr": rest},
        },
    ) | {"experts": [{"arch": "convnet_small_gn", "feature_dim": 16}]}
    one, _ = run_logged(spec, tmp_path / "one")
    train_with(2, spec, tmp_path / "two")
    ours, theirs = weights(tmp_path / "two"), weights(tmp_path / "one")
    assert ours.keys() == theirs.keys()
    # Adam divides a gradient by its own size, so that where it is zero but for rounding, the rounding decides a whole
    # step. What both processes computed shows in the loss, and under plain SGD in the weights themselves.
    if optimizer == "sgd":
        difference = max((ours[key] - theirs[key]).abs().max().item() for key in ours)
        print(f"largest difference of a weight: {difference:.1e}")
        assert difference < 1e-5
    assert len(series(tmp_path / "one")) >= 4
    assert series(tmp_path / "two") == pytest.approx(series(tmp_path / "one"), abs=1e-5 if optimizer == "sgd" else 1e-4)
    # Rounding may decide the winner of single images.
    for key in ("train/winning_share_expert_0", "train/winning_share_expert_1"):
        assert series(tmp_path / "two", key) == pytest.approx(series(tmp_path / "one", key), abs=0.05)
    two = json.loads((tmp_path / "two/result.json").read_text())
    assert two["step"] == one.step
    assert len(two["winning_share_by_class"]) == 2
    assert abs(two["metrics"]["test/nll"] - one.metrics["test/nll"]) < 1e-4
    assert {"test/contribution_expert_0", "test/contribution_expert_1"} <= two["metrics"].keys()
    for split in ("val", "test"):
        ours, theirs = (np.load(tmp_path / f"{run}/predictions/{split}.npz") for run in ("one", "two"))
        with ours, theirs:
            assert set(ours) == set(theirs)
            assert (ours["ids"] == theirs["ids"]).all()
            assert (ours["labels"] == theirs["labels"]).all()
            for path in ("fused", "expert_0", "expert_1"):
                assert ours[f"logits_{path}"] == pytest.approx(theirs[f"logits_{path}"], abs=1e-3)
    lines = (tmp_path / "two/events.jsonl").read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))


def test_two_processes_give_the_numbers_of_one_across_stages_and_with_pcgrad(tmp_path: Path) -> None:
    """Each stage trains other parameters, so that the gradients of others are averaged."""
    sgd = {"optimizer": "sgd", "lr": 0.01}
    spec = fusion(
        count=2,
        epochs=4,
        seed=7,
        precision="float32",
        fusion={"dropout": 0.0},
        augmentation={"mixup_alpha": 0, "cutmix_alpha": 0},
        components={"experts": {"accumulation_steps": 2, **sgd}, "fusion": sgd, "head": sgd},
        stages=[
            {"epochs": 1, "components": {"experts": {"frozen": True}}},
            {"epochs": 1, "components": {"fusion": {"frozen": True}}},
            {"epochs": 2},
        ],
    ) | {"experts": [{"arch": "convnet_small_gn", "feature_dim": 16}]}
    for gradients in ("sum", "pcgrad"):
        spec["training"]["gradients"] = gradients
        run_logged(spec, tmp_path / f"one-{gradients}")
        train_with(2, spec, tmp_path / f"two-{gradients}")
        ours, theirs = weights(tmp_path / f"two-{gradients}"), weights(tmp_path / f"one-{gradients}")
        difference = max((ours[key] - theirs[key]).abs().max().item() for key in ours)
        print(f"{gradients}: largest difference of a weight: {difference:.1e}")
        assert difference < 1e-5
        one, two = (measured(tmp_path / f"{name}-{gradients}") for name in ("one", "two"))
        assert two.keys() == one.keys()
        assert two == pytest.approx(one, abs=1e-4)


def measured(run_dir: Path) -> dict[str, float]:
    """What the last epoch says of gradients and ambiguity."""
    values = [event["data"]["values"] for event in read_events(run_dir / "events.jsonl") if event["kind"] == "metrics"]
    last = [of_epoch for of_epoch in values if "train/stage" in of_epoch][-1]
    return {key: value for key, value in last.items() if "gradient" in key or "ambiguity" in key or "collusion" in key}


def test_two_processes_validate_the_model_that_is_saved(tmp_path: Path) -> None:
    """Each process has batches, and so BatchNorm statistics, of its own; those of the first are saved."""
    train_with(2, fusion(count=2, epochs=1, precision="float32"), tmp_path / "two")
    spec = parse_stored(json.loads((tmp_path / "two/spec.json").read_text()))
    runtime = Runtime(torch.device("cpu"), torch.float32)
    data = load_job_data(spec, [])
    model = build_module(load_component(component(tmp_path / "two", "complete")))
    assert isinstance(model, MultiExpertModel)
    evaluation = evaluate(
        model,
        selection_batches(data, spec, runtime).epoch(0),
        lambda images: normalize(images, data.dataset.mean, data.dataset.std),
        runtime,
        num_classes=10,
    )
    manifest = read_component_manifest(tmp_path / "two/components", "complete")
    assert manifest is not None
    assert manifest["metrics"] == pytest.approx(evaluation.metrics, rel=1e-5)
