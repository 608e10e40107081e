"""Stages and gradients of whole trainings: fresh small experts on a tenth of digits."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.components import read_component_manifest
from core.train.checkpoint import load_checkpoint
from tests.core.jobs import DIGITS, component, expert, fusion, run, run_logged
from tests.core.train.test_epoch_metrics import epoch_values
from tests.core.train.test_fit import components, same, weights

pytestmark = pytest.mark.slow

EVERY_STEP = {"checkpoint": {"every_steps": 1, "keep": 100}}
ACCUMULATE = {"experts": {"accumulation_steps": 2, "lr": 0.01}, "fusion": {"lr": 0.01}, "head": {"lr": 0.01}}
FROZEN = {"experts": {"frozen": True}}
# Three steps an epoch, so that an accumulation over two batches is unfinished at the end of an epoch.
STAGED: dict[str, Any] = {
    "stages": [
        {"epochs": 1, "components": FROZEN},
        {"epochs": 1, "lambda_individual": 0.5, "components": {"fusion": {"frozen": True}, "head": {"lr": 0.02}}},
        {"epochs": 1, "components": {"head": {"frozen": True}}},
    ],
    "components": ACCUMULATE,
    "batch_size": 40,
    "epochs": None,
}
STEPS = 3


def states(run_dir: Path) -> list[dict[str, Any]]:
    """The states of all checkpoints, in order; the one at the end of epoch n is at position 3 * n - 1."""
    return [load_checkpoint(path).state for path in sorted((run_dir / "checkpoints").iterdir())]


def part(state: dict[str, Any], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in state["model"].items() if key.startswith(f"{name}.")}


def step_values(events: list[dict[str, Any]]) -> list[dict[str, float]]:
    """What is logged for each step, if every step is logged."""
    values = [event["data"]["values"] for event in events if event["kind"] == "metrics"]
    return [of_step for of_step in values if "train/loss_total" in of_step]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    run_dir = tmp_path_factory.mktemp("staged")
    return run_dir, run_logged(fusion(**STAGED) | EVERY_STEP, run_dir)[1]


def test_what_a_stage_freezes_does_not_change_by_a_bit_in_it(staged: tuple[Path, list[dict[str, Any]]]) -> None:
    saved = states(staged[0])
    assert len(saved) == 3 * STEPS
    for stage, frozen in enumerate(("experts", "fusion", "head")):
        before = saved[max(0, stage * STEPS - 1)]
        after = saved[(stage + 1) * STEPS - 1]
        for name in ("experts", "fusion", "head"):
            assert same(part(before, name), part(after, name)) == (name == frozen), (stage, name)


def test_an_optimizer_does_not_step_while_its_component_is_frozen(staged: tuple[Path, list[dict[str, Any]]]) -> None:
    saved = states(staged[0])
    assert saved[STEPS - 1]["updates"]["experts"]["optimizer"]["state"] == {}
    moments = [saved[step - 1]["updates"]["fusion"]["optimizer"]["state"][0] for step in (STEPS, 2 * STEPS, 3 * STEPS)]
    assert [moment["step"].item() for moment in moments] == [3, 3, 6]
    assert torch.equal(moments[0]["exp_avg"], moments[1]["exp_avg"])


def test_the_last_batch_of_a_stage_steps_on_what_is_accumulated(staged: tuple[Path, list[dict[str, Any]]]) -> None:
    experts = [state["updates"]["experts"] for state in states(staged[0])]
    # Of the second stage: batches 1 and 2 together, then 3 alone. In the third stage it starts with two again.
    assert [of_step["accumulated"] for of_step in experts] == [0, 0, 0, 1, 0, 0, 1, 0, 0]
    assert experts[2 * STEPS - 1]["optimizer"]["state"][0]["step"].item() == 2


def test_every_stage_is_announced_and_logged_with_its_values(staged: tuple[Path, list[dict[str, Any]]]) -> None:
    events = staged[1]
    messages = [event["data"]["message"] for event in events if event["kind"] == "log"]
    assert messages == [
        "stage 1 of 3: epoch 1: experts frozen, fusion lr 0.01, head lr 0.01",
        "stage 2 of 3: epoch 2: fusion frozen, experts lr 0.01, head lr 0.02; lambda 0.5",
        "stage 3 of 3: epoch 3: head frozen, experts lr 0.01, fusion lr 0.01; lambda 1",
    ]
    assert [values["train/stage"] for values in epoch_values(events)] == [1.0, 2.0, 3.0]
    assert ["train/gradient_cosine" in values for values in epoch_values(events)] == [False, True, True]
    logged = [event["data"]["values"] for event in events if event["kind"] == "metrics"]
    assert [values["lambda"] for values in logged if "lambda" in values][::STEPS] == [1.0, 0.5, 1.0]
    rates = [{key for key in values if key.startswith("lr/")} for values in logged if "lambda" in values]
    assert rates[::STEPS] == [{"lr/fusion", "lr/head"}, {"lr/experts", "lr/head"}, {"lr/experts", "lr/fusion"}]
    individual = ["train/loss_individual" in values for values in logged if "lambda" in values]
    assert individual == [False] * STEPS + [True] * 2 * STEPS
    config = next(event["data"] for event in events if event["kind"] == "config")
    assert [(stage["first_epoch"], stage["last_epoch"]) for stage in config["stages"]] == [(1, 1), (2, 2), (3, 3)]


def test_the_total_loss_has_the_lambda_of_its_stage(staged: tuple[Path, list[dict[str, Any]]]) -> None:
    steps = step_values(staged[1])
    assert len(steps) == 3 * STEPS
    for values in steps[:STEPS]:
        assert values["train/loss_total"] == values["train/loss_global"]
    for lambda_individual, of_stage in ((0.5, steps[STEPS : 2 * STEPS]), (1.0, steps[2 * STEPS :])):
        for values in of_stage:
            individual, distillation = values["train/loss_individual"], values["train/loss_distillation"]
            assert individual > 1.0
            assert distillation > 0.0
            expected = values["train/loss_global"] + lambda_individual * individual + 0.1 * distillation
            assert values["train/loss_total"] == pytest.approx(expected, rel=1e-6)


def test_every_step_that_trains_the_experts_counts_in_their_statistics(staged: tuple[Path, Any]) -> None:
    counts = [
        {int(value) for key, value in state["model"].items() if key.endswith("num_batches_tracked")}
        for state in states(staged[0])
    ]
    assert counts == [{max(0, step - STEPS)} for step in range(1, 3 * STEPS + 1)]


def test_schedules_run_over_the_whole_training(tmp_path: Path) -> None:
    policies = {name: {"lr": 0.01, "schedule": "CosineAnnealingLR"} for name in ("experts", "fusion", "head")}
    stages = [{"epochs": 2}, {"epochs": 2, "components": {"head": {"lr": 0.1}}}]
    _, events = run_logged(fusion(epochs=4, stages=stages, components=policies), tmp_path / "staged")
    _, plain = run_logged(fusion(epochs=4, components=policies), tmp_path / "plain")

    def rates(of: list[dict[str, Any]], name: str) -> list[float]:
        values = [event["data"]["values"] for event in of if event["kind"] == "metrics"]
        return [of_step[f"lr/{name}"] for of_step in values if "lambda" in of_step]

    assert rates(events, "experts") == rates(plain, "experts")
    factors = [10.0 if index >= len(rates(plain, "head")) // 2 else 1.0 for index in range(len(rates(plain, "head")))]
    expected = [rate * factor for rate, factor in zip(rates(plain, "head"), factors, strict=True)]
    assert rates(events, "head") == pytest.approx(expected)


def test_stages_that_change_nothing_give_the_bits_of_a_training_without(tmp_path: Path) -> None:
    plain = fusion(epochs=2)
    run(plain, tmp_path / "plain")
    run(fusion(epochs=2, stages=[{"epochs": 2}]), tmp_path / "one")
    # Batches of two epochs are even, so that no accumulation is cut short.
    run(fusion(epochs=2, stages=[{"epochs": 1}, {"epochs": 1}]), tmp_path / "two")
    for name in ("one", "two"):
        assert same(weights(tmp_path / "plain"), weights(tmp_path / name))


@pytest.mark.parametrize("gradients", ["sum", "pcgrad"])
def test_a_run_stopped_at_every_step_ends_with_the_same_bits(gradients: str, tmp_path: Path) -> None:
    """Across both boundaries, with accumulation, MixUp and CutMix, dropout."""
    spec = fusion(**STAGED, gradients=gradients)
    straight, straight_events = run_logged(spec, tmp_path / "straight")
    for stops in itertools.count(1):
        result, events = run_logged(spec, tmp_path / "stopped", should_stop=lambda: True)
        if result.state == "succeeded":
            break
        assert result.step == stops < 3 * STEPS
    assert same(weights(tmp_path / "straight"), weights(tmp_path / "stopped"))
    assert components(tmp_path / "straight") == components(tmp_path / "stopped")
    assert result.metrics == straight.metrics
    assert epoch_values(events) == epoch_values(straight_events)


def test_pcgrad_trains_the_experts_otherwise_and_logs_conflicts(tmp_path: Path) -> None:
    _, plain = run_logged(fusion(epochs=1), tmp_path / "sum")
    _, events = run_logged(fusion(epochs=1, gradients="pcgrad"), tmp_path / "pcgrad")
    [values], [values_of_sum] = epoch_values(events), epoch_values(plain)
    assert 0.0 < values["train/gradient_conflicts"] <= 1.0
    assert -1.0 < values["train/gradient_cosine"] < 1.0
    assert "train/gradient_conflicts" not in values_of_sum
    assert not same(weights(tmp_path / "sum"), weights(tmp_path / "pcgrad"))


def test_the_cosine_is_that_of_the_first_batch_with_and_without_pcgrad(tmp_path: Path) -> None:
    """Without dropout, whose masks differ. Nothing is learnt, so that both runs are the same model in every epoch."""
    still = {name: {"lr": 1e-30} for name in ("experts", "fusion", "head")}
    spec: dict[str, Any] = {"components": still, "fusion": {"dropout": 0.0}, "precision": "float32", "batch_size": 40}
    logged = [
        epoch_values(run_logged(fusion(**spec, gradients=gradients), tmp_path / gradients)[1])
        for gradients in ("sum", "pcgrad")
    ]
    cosines, projected = ([values["train/gradient_cosine"] for values in of_run] for of_run in logged)
    assert len(cosines) == 2
    assert abs(cosines[0] - cosines[1]) > 1e-3
    assert projected == pytest.approx(cosines, abs=1e-5)


def test_pcgrad_in_bfloat16_and_with_one_expert_trains(tmp_path: Path) -> None:
    _, events = run_logged(fusion(count=1, epochs=1, gradients="pcgrad", precision="bfloat16"), tmp_path)
    [values] = epoch_values(events)
    assert "train/gradient_cosine" in values


def test_without_an_individual_loss_there_is_no_cosine(tmp_path: Path) -> None:
    loss = {"lambda_individual": 0.0, "distillation_weight": 0.0}
    _, events = run_logged(fusion(epochs=1, loss=loss), tmp_path)
    assert "train/gradient_cosine" not in epoch_values(events)[0]


def test_heads_that_no_stage_has_trained_are_neither_measured_nor_saved(tmp_path: Path) -> None:
    for shard in (0, 1):
        run(expert(shard, epochs=1), tmp_path / f"e{shard}")
    named = {"experts": [{"from": {"path": str(component(tmp_path / f"e{k}", "expert_0"))}} for k in (0, 1)]}
    stages = [{"epochs": 2, "components": FROZEN}, {"epochs": 1}, {"epochs": 1, "components": FROZEN}]
    spec = fusion(dataset=DIGITS, epochs=4, stages=stages, batch_size=64) | named
    result, events = run_logged(spec, tmp_path / "joint")
    first, second, third, fourth = epoch_values(events)
    for values in (first, second):
        of_experts = [key for key in values if "expert" in key or "ensemble" in key or "ambiguity" in key]
        assert of_experts == []
        assert "val/accuracy_fused" in values
    assert {"val/accuracy_expert_0", "val/ambiguity", "val/accuracy_oracle"} <= third.keys()
    # Frozen again, the heads stay those that were trained.
    assert fourth["val/accuracy_expert_0"] == third["val/accuracy_expert_0"]
    for name in ("expert_0", "fusion", "complete"):
        manifest = read_component_manifest(tmp_path / "joint/components", name)
        assert manifest is not None
        assert manifest["epoch"] > 2
    assert "test/accuracy_expert_0" in result.metrics
