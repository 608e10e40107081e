from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts

from core.policies import ComponentOptimizers, Rate, describe_schedule, rate_at
from core.spec import ComponentPolicy, GroupName, Schedule

CONSTANT = Schedule()


def policy(**fields: Any) -> ComponentPolicy:
    return ComponentPolicy(
        **{"clip_norm": 0.0, "schedule": CONSTANT, "weight_decay": 0.0, "optimizer": "sgd", **fields}
    )


def updates(
    modules: dict[GroupName, nn.Module], policies: dict[GroupName, ComponentPolicy], clip: float = 0.0
) -> ComponentOptimizers:
    parameters = {name: list(module.parameters()) for name, module in modules.items()}
    return ComponentOptimizers(
        parameters, policies, {name: Rate(0.1, "") for name in modules}, epochs=8, clip_norm=clip
    )


def one_weight() -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    nn.init.ones_(module.weight)
    return module


def set_gradient(module: nn.Linear, value: float) -> None:
    gradient = torch.full_like(module.weight, value)
    module.weight.grad = gradient if module.weight.grad is None else module.weight.grad + gradient


def test_accumulation_steps_every_second_batch_on_the_mean() -> None:
    module = one_weight()
    both = updates({"experts": module}, {"experts": policy(accumulation_steps=2)})
    set_gradient(module, 1.0)
    assert both.step()["experts"].clipped is None
    assert module.weight.item() == 1.0
    set_gradient(module, 3.0)
    report = both.step()["experts"]
    assert report.norm.item() == pytest.approx(2.0)
    # The first step of SGD with Nesterov momentum 0.9 moves by lr * (1 + 0.9) * gradient.
    assert module.weight.item() == pytest.approx(1.0 - 0.1 * 1.9 * 2.0)
    assert module.weight.grad is None


def test_the_last_batch_of_a_run_steps_on_what_there_is() -> None:
    module = one_weight()
    alone = updates({"experts": module}, {"experts": policy(accumulation_steps=4)})
    set_gradient(module, 2.0)
    assert alone.step(last=True)["experts"].clipped is not None
    assert module.weight.item() == pytest.approx(1.0 - 0.1 * 1.9 * 2.0)


def test_each_component_has_its_own_clip() -> None:
    a, b = one_weight(), one_weight()
    each = updates({"experts": a, "head": b}, {"experts": policy(clip_norm=5.0), "head": policy(clip_norm=1.0)})
    for module in (a, b):
        set_gradient(module, 3.0)
    reports = each.step()
    assert [reports[name].norm.item() for name in ("experts", "head")] == [3.0, 3.0]
    assert [report.clipped.item() for report in reports.values() if report.clipped is not None] == [0.0, 1.0]
    assert a.weight.item() == pytest.approx(1.0 - 0.19 * 3.0)
    assert b.weight.item() == pytest.approx(1.0 - 0.19 * 1.0, abs=1e-5)


def test_the_global_clip_bounds_all_gradients_together() -> None:
    a, b = one_weight(), one_weight()
    together = updates({"experts": a, "head": b}, {"experts": policy(), "head": policy()}, clip=1.0)
    set_gradient(a, 3.0)
    set_gradient(b, 4.0)
    reports = together.step()
    assert {name: report.norm.item() for name, report in reports.items()} == {"experts": 3.0, "head": 4.0}
    assert all(report.clipped is not None and report.clipped.item() == 1.0 for report in reports.values())
    assert a.weight.item() == pytest.approx(1.0 - 0.19 * 3.0 / 5.0, abs=1e-5)
    assert b.weight.item() == pytest.approx(1.0 - 0.19 * 4.0 / 5.0, abs=1e-5)


def test_a_frozen_component_is_left_out() -> None:
    a, b = one_weight(), one_weight()
    a.requires_grad_(False)
    assert updates({"experts": a, "head": b}, {"experts": policy(), "head": policy()}).rates().keys() == {"head"}


def train(module: nn.Module, both: ComponentOptimizers, inputs: torch.Tensor, epochs: range) -> None:
    for epoch in epochs:
        both.start_epoch(epoch)
        for index in range(3 * epoch, 3 * epoch + 3):
            module(inputs[index]).pow(2).mean().backward()
            both.step()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_state_saved_within_an_accumulation_resumes_bit_for_bit(optimizer: str) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(9, 4, 6)
    restarts = Schedule(type="CosineAnnealingWarmRestarts", t_0=2)
    rules = policy(optimizer=optimizer, accumulation_steps=2, schedule=restarts, clip_norm=0.5, weight_decay=1e-2)
    straight = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    stopped = copy.deepcopy(straight)
    whole, first = updates({"experts": straight}, {"experts": rules}), updates({"experts": stopped}, {"experts": rules})
    train(straight, whole, inputs, range(3))
    train(stopped, first, inputs, range(1))
    state = copy.deepcopy(first.state_dict())
    assert state["experts"]["accumulated"] == 1
    resumed = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    resumed.load_state_dict(stopped.state_dict())
    second = updates({"experts": resumed}, {"experts": rules})
    second.load_state_dict(state)
    train(resumed, second, inputs, range(1, 3))
    assert second.rates() == whole.rates()
    for ours, theirs in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def rates_over(schedule: Schedule, epochs: int) -> list[float]:
    return [rate_at(schedule, 1.0, epoch, epochs) for epoch in range(epochs)]


def cosine(position: float, length: float) -> float:
    return 0.1 + 0.45 * (1 + math.cos(math.pi * position / length))


@pytest.mark.parametrize("epochs", [1, 3, 8, 100])
def test_schedules_are_pytorchs_of_the_same_names(epochs: int) -> None:
    optimizer = torch.optim.SGD(one_weight().parameters(), lr=0.3)
    first = max(1, epochs // 4)
    schedulers = {
        "CosineAnnealingLR": CosineAnnealingLR(optimizer, T_max=epochs, eta_min=0.03),
        "CosineAnnealingWarmRestarts": CosineAnnealingWarmRestarts(optimizer, T_0=first, T_mult=2, eta_min=0.03),
    }
    for name, theirs in schedulers.items():
        optimizer.param_groups[0]["lr"] = 0.3
        for epoch in range(epochs):
            ours = rate_at(Schedule(type=name), 0.3, epoch, epochs)  # type: ignore[arg-type]
            assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), (name, epoch)
            optimizer.step()
            theirs.step()


def test_the_experts_schedule_restarts_after_a_quarter_and_then_twice_as_long() -> None:
    expected = [cosine(i, 2) for i in range(2)] + [cosine(i, 4) for i in range(4)] + [cosine(i, 8) for i in range(2)]
    assert rates_over(Schedule(type="CosineAnnealingWarmRestarts"), 8) == pytest.approx(expected)


def test_the_fusion_schedule_is_one_cosine_down_to_a_tenth() -> None:
    assert rates_over(Schedule(type="CosineAnnealingLR"), 10) == pytest.approx([cosine(i, 10) for i in range(10)])


def test_a_constant_schedule_is_constant() -> None:
    assert rates_over(CONSTANT, 5) == [1.0] * 5


def test_schedules_are_described_with_their_times() -> None:
    description = describe_schedule(Schedule(type="CosineAnnealingWarmRestarts"), 100)
    assert description == "CosineAnnealingWarmRestarts(T_0=25, T_mult=2, eta_min=0.1 lr)"
    assert describe_schedule(Schedule(type="CosineAnnealingWarmRestarts"), 3).startswith(
        "CosineAnnealingWarmRestarts(T_0=1,"
    )
