"""Training with experts that are absent from the fused path of some images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core.components import load_component
from core.data import DataShape
from core.losses import DualPathLoss
from core.model.assemble import build_model, complete_spec
from core.model.model import MultiExpertModel
from core.runtime import Runtime
from core.spec import FusionJob, parse_spec, resolve
from core.train.expert_dropout import present_experts
from tests.core.jobs import component, fusion, run, run_logged

CPU = Runtime(torch.device("cpu"), torch.float32)
SHAPE = DataShape(1, 8, 10)


def make_model(**options: Any) -> tuple[FusionJob, MultiExpertModel]:
    spec = complete_spec(parse_spec(fusion(count=3, fusion=options)), {})
    assert isinstance(spec, FusionJob)
    torch.manual_seed(0)
    return spec, build_model(spec, SHAPE)


def test_a_dropped_expert_learns_from_its_own_loss_alone() -> None:
    spec, model = make_model(expert_dropout=0.5, dropout=0.0)
    images, targets = torch.randn(6, 1, 8, 8), torch.arange(6)
    present = torch.tensor([True, False, True]).expand(6, -1)
    criterion = DualPathLoss.from_spec(resolve(spec).training.loss)

    def gradient(lambda_fused: float) -> torch.Tensor:
        model.zero_grad()
        outputs = model(images, present)
        loss = criterion(outputs.fused, outputs.experts, targets)
        (lambda_fused * loss.global_ + loss.individual).backward()
        return torch.cat([p.grad.flatten() for p in model.experts[1].parameters() if p.grad is not None])

    assert gradient(0.0).abs().sum() > 0
    assert torch.equal(gradient(0.0), gradient(5.0))


def test_only_training_with_a_rate_leaves_experts_out() -> None:
    spec, _ = make_model(expert_dropout=0.5)
    present = present_experts(spec, CPU, step=3, batch=64)
    assert present is not None
    assert present.shape == (64, 3)
    assert present_experts(make_model()[0], CPU, step=3, batch=64) is None
    other = present_experts(spec, CPU, step=4, batch=64)
    assert other is not None
    assert not torch.equal(present, other)


def test_processes_draw_for_their_own_images() -> None:
    spec, _ = make_model(expert_dropout=0.5)
    whole = present_experts(spec, CPU, step=3, batch=64)
    parts = [present_experts(spec, replace(CPU, rank=rank, world_size=2), step=3, batch=32) for rank in range(2)]
    assert whole is not None
    assert torch.equal(torch.cat([part for part in parts if part is not None]), whole)


def test_the_components_of_a_run_with_expert_dropout_start_another_one(tmp_path: Path) -> None:
    run(fusion(count=3, epochs=1, fusion={"expert_dropout": 0.4}), tmp_path / "dropped")
    file = component(tmp_path / "dropped", "fusion")
    saved = load_component(file)
    assert saved.config["expert_dropout"] == 0.4
    elements = saved.state_dict["combine.absent.elements"]
    assert elements.shape == (3, 16)
    assert (elements != 1).any()

    started = fusion(count=3, epochs=1, fusion={"from": {"path": str(file)}})
    _, events = run_logged(started, tmp_path / "started")
    assert load_component(component(tmp_path / "started", "fusion")).config["expert_dropout"] == 0.4
    assert any(event["kind"] == "state" and event["data"]["state"] == "succeeded" for event in events)


def test_a_module_from_before_learns_neutral_elements_once_it_drops_experts(tmp_path: Path) -> None:
    run(fusion(count=3, epochs=1), tmp_path / "plain")
    file = component(tmp_path / "plain", "fusion")
    assert "expert_dropout" not in load_component(file).config
    run(fusion(count=3, epochs=1, fusion={"from": {"path": str(file)}, "expert_dropout": 0.3}), tmp_path / "dropped")
    after = load_component(component(tmp_path / "dropped", "fusion"))
    assert after.config["expert_dropout"] == 0.3
    assert "combine.absent.elements" in after.state_dict
