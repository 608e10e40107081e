"""What permuting the features of one expert costs the fused path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.experts import Expert
from core.fusion import FusionModule
from core.model.model import MultiExpertModel
from core.runtime import Runtime
from core.spec import FusionOptions
from core.train import contribution, subsets
from core.train.contribution import evaluate_with_contributions
from core.train.evaluate import evaluate
from core.train.evaluation_metrics import Evaluation

C, N, SEED = 4, 90, 5
CPU = Runtime(torch.device("cpu"), torch.float32)
generator = torch.Generator().manual_seed(0)
LABELS = torch.randint(0, C, (N,), generator=generator)
IMAGES = LABELS.float().reshape(N, 1, 1, 1)


class Seeing(Expert):
    """Features that say which class an image has, as strongly as `strength`: an image is its class."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.add_head(C, C)
        self.strength = strength
        self.passes = 0

    def features(self, images_BCHW: Tensor) -> Tensor:
        self.passes += len(images_BCHW)
        return self.strength * nn.functional.one_hot(images_BCHW.flatten().long(), C).float()


def make_model(*strengths: float) -> MultiExpertModel:
    head: Any = nn.Linear(C, C)
    nn.init.eye_(head.weight)
    nn.init.zeros_(head.bias)
    options = FusionOptions(norm=False, mlp=False, weights="none")
    fusion = FusionModule("simpleAddition", [C] * len(strengths), options=options)
    return MultiExpertModel([Seeing(strength) for strength in strengths], fusion, head)


def batches(size: int = 40) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(IMAGES.split(size), LABELS.split(size), strict=True)


def measure(model: MultiExpertModel, size: int = 40, seed: int = SEED) -> Evaluation:
    return evaluate_with_contributions(model, batches(size), lambda x: x, CPU, num_images=N, seed=seed, num_classes=C)


def test_an_expert_that_decides_contributes_what_permuting_its_features_costs() -> None:
    measured = measure(make_model(3.0, 1.0, 0.0)).metrics
    labels = LABELS.numpy()
    # The strongest expert outvotes the others, so the fused path then answers the class of the other image.
    right = [(labels[np.random.default_rng([SEED, 0, n]).permutation(N)] == labels).mean() for n in range(3)]
    assert measured["accuracy_fused"] == 1.0
    assert measured["contribution_expert_0"] == pytest.approx(1.0 - np.mean(right))
    assert measured["contribution_expert_1"] == measured["contribution_expert_2"] == 0.0


def test_the_backbones_run_once_and_no_generator_is_drawn_from() -> None:
    model = make_model(2.0, 1.0)
    before = torch.get_rng_state()
    model.train()
    measure(model)
    assert [expert.passes for expert in model.experts] == [N, N]
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert model.fusion is not None
    assert not model.fusion._forward_pre_hooks


def test_batches_do_not_matter_and_the_seed_does(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(3.0, 1.0)
    measured = measure(model)
    assert measure(model, seed=SEED + 1).metrics != measured.metrics
    monkeypatch.setattr(contribution, "_BATCH", 7)
    monkeypatch.setattr(subsets, "_MAX_NUMBERS", {"cpu": 100})
    assert measure(model, size=13).metrics == pytest.approx(measured.metrics, rel=1e-12)


def test_everything_else_is_what_a_plain_evaluation_measures() -> None:
    model = make_model(3.0, 1.0)
    plain = evaluate(model, batches(), lambda x: x, CPU, num_classes=C)
    measured = measure(model)
    assert plain.metrics.items() <= measured.metrics.items()
    names = ("contribution", "accuracy_without", "shapley")
    added = {f"{name}_expert_{k}" for name in names for k in range(2)}
    assert measured.metrics.keys() - plain.metrics.keys() == added
    assert (measured.per_class, measured.absent) == (plain.per_class, plain.absent)


def test_contributions_that_cannot_be_measured_are_absent_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = make_model(float("nan"), 1.0)
    assert "fused has outputs that are not finite" in measure(broken).absent["contribution_expert_1"]
    monkeypatch.setattr(contribution, "MAX_FEATURE_BYTES", 10)
    measured = measure(make_model(3.0, 1.0))
    assert "too much to keep them in memory" in measured.absent["contribution_expert_0"]
    assert "contribution_expert_0" not in measured.metrics
    assert measured.metrics["accuracy_fused"] == 1.0


def test_an_expert_alone_has_no_contribution() -> None:
    measured = measure(MultiExpertModel([Seeing(1.0)]))
    assert not any("contribution" in key for key in measured.metrics | measured.absent)
