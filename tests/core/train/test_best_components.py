from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from core.components import read_component_manifest
from core.train.best_components import BestComponents
from tests.core.jobs import expert, run, run_logged

CONFIGS: dict[str, dict[str, Any]] = {
    "expert_0": {"role": "expert"},
    "fusion": {"role": "fusion"},
    "head": {"role": "head"},
    "complete": {"role": "complete"},
}
STATE = {name: torch.zeros(2) for name in ("experts.0.weight", "fusion.weight", "head.weight")}


def save(folder: Path, epoch: int, **metrics: float) -> None:
    best = BestComponents(folder, CONFIGS, on_save=lambda manifest: None)
    for write in best.updates(STATE, metrics, epoch=epoch, step=epoch):
        write()


def saved_epochs(folder: Path) -> dict[str, int]:
    manifests = {name: read_component_manifest(folder, name) for name in CONFIGS}
    return {name: manifest["epoch"] for name, manifest in manifests.items() if manifest}


def test_every_expert_keeps_its_own_best_epoch_and_the_rest_the_best_fused_epoch(tmp_path: Path) -> None:
    save(tmp_path, 1, accuracy_expert_0=0.2, accuracy_fused=0.5)
    save(tmp_path, 2, accuracy_expert_0=0.4, accuracy_fused=0.3)
    assert saved_epochs(tmp_path) == {"expert_0": 2, "fusion": 1, "head": 1, "complete": 1}


def test_of_equal_accuracies_the_smaller_loss_is_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, accuracy_expert_0=0.5, loss_expert_0=1.0, accuracy_fused=0.5, loss_fused=1.0)
    save(tmp_path, 2, accuracy_expert_0=0.5, loss_expert_0=0.9, accuracy_fused=0.5, loss_fused=1.1)
    assert saved_epochs(tmp_path) == {"expert_0": 2, "fusion": 1, "head": 1, "complete": 1}


@pytest.mark.parametrize("first", [True, False])
def test_an_accuracy_that_is_not_finite_or_absent_never_wins(first: bool, tmp_path: Path) -> None:
    if first:
        save(tmp_path, 1, accuracy_expert_0=0.0, accuracy_fused=0.0)
    save(tmp_path, 2, accuracy_expert_0=math.nan)
    save(tmp_path, 3, accuracy_expert_0=0.0)
    if first:
        assert set(saved_epochs(tmp_path).values()) == {1}
    else:
        assert saved_epochs(tmp_path) == {"expert_0": 3}


@pytest.mark.parametrize("keep_checkpoint", [True, False], ids=["resumed", "begun again"])
def test_components_that_a_killed_attempt_saved_and_did_not_report_are_reported(
    keep_checkpoint: bool, tmp_path: Path
) -> None:
    spec = expert(epochs=50) | {"checkpoint": {"every_steps": 1}}
    manifest = tmp_path / "run/components/expert_0.json"
    # Nobody hears of what it does.
    assert run(spec, tmp_path / "run", should_stop=manifest.exists).state == "stopped"
    if not keep_checkpoint:
        shutil.rmtree(tmp_path / "run/checkpoints")
    saved = read_component_manifest(tmp_path / "run/components", "expert_0")
    assert saved is not None
    _, events = run_logged(spec, tmp_path / "run", should_stop=lambda: True)
    assert next(event["data"] for event in events if event["kind"] == "component") == saved
