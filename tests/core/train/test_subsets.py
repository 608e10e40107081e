"""The fused accuracy of every subset of the experts, and what each is worth."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from core.data import DataShape
from core.model.assemble import build_model, complete_spec
from core.model.model import MultiExpertModel
from core.runtime import Runtime
from core.spec import FUSION_TYPES, parse_spec
from core.train import subsets
from core.train.contribution import evaluate_with_contributions
from core.train.evaluation_metrics import Evaluation
from core.train.shapley import shapley_values
from tests.core.jobs import fusion, run

CPU = Runtime(torch.device("cpu"), torch.float32)
N = 200
IMAGES = torch.randn(N, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(10, (N,), generator=torch.Generator().manual_seed(1))


def make_model(fusion_type: str, num_experts: int = 3) -> MultiExpertModel:
    options = {"type": fusion_type, "expert_dropout": 0.3}
    spec = complete_spec(parse_spec(fusion(count=num_experts, fusion=options)), {})
    torch.manual_seed(0)
    model = build_model(spec, DataShape(1, 8, 10)).eval()
    assert model.fusion is not None
    with torch.no_grad():
        # Untrained attention answers the same for nearly all images.
        for parameter in model.fusion.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape))
    return model


def measure(model: MultiExpertModel) -> Evaluation:
    batches = zip(IMAGES.split(64), LABELS.split(64), strict=True)
    return evaluate_with_contributions(model, batches, lambda x: x, CPU, num_images=N, seed=0, num_classes=10)


def plain_accuracy(model: MultiExpertModel, members: tuple[int, ...]) -> float:
    present = torch.tensor([k in members for k in range(len(model.experts))]).expand(N, -1)
    with torch.no_grad():
        fused = model(IMAGES, present).fused
    assert isinstance(fused, Tensor)
    return (fused.argmax(dim=1) == LABELS).double().mean().item()


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_every_subset_has_the_accuracy_of_the_whole_model_without_the_others(fusion_type: str) -> None:
    model = make_model(fusion_type)
    measured = measure(model)
    assert measured.subsets is not None
    accuracies = measured.subsets.accuracies
    sets = [members for size in range(4) for members in itertools.combinations(range(3), size)]
    assert list(accuracies) == ["none", "0", "1", "2", "0,1", "0,2", "1,2", "0,1,2"]
    for members, accuracy in zip(sets, accuracies.values(), strict=True):
        # Merged layers may decide a close image otherwise.
        assert accuracy == pytest.approx(plain_accuracy(model, members), abs=1.5 / N), members
    assert accuracies["0,1,2"] == measured.metrics["accuracy_fused"]
    assert [measured.metrics[f"accuracy_without_expert_{k}"] for k in range(3)] == [
        accuracies["1,2"],
        accuracies["0,2"],
        accuracies["0,1"],
    ]
    assert len(set(accuracies.values())) > 2


def test_the_set_of_all_experts_has_the_accuracy_that_the_evaluation_measured() -> None:
    features = [torch.randn(N, 16) for _ in range(3)]
    measured = subsets.subset_accuracies(make_model("multiplicative"), features, LABELS, CPU, fused=0.875)
    assert measured.accuracies["0,1,2"] == 0.875
    assert math.fsum(measured.shapley) == pytest.approx(0.875 - measured.accuracies["none"], abs=1e-9)


def test_shapley_values_are_the_mean_over_all_orders_and_sum_to_what_all_add() -> None:
    seed = int(np.random.default_rng().integers(1 << 32))
    print(f"seed {seed}")
    for num_experts in (1, 2, 3, 5, 10):
        values = np.random.default_rng([seed, num_experts]).random(1 << num_experts).tolist()
        shapley = shapley_values(values)
        assert math.fsum(shapley) == pytest.approx(values[-1] - values[0], abs=1e-9)
        if num_experts > 5:
            continue
        orders = list(itertools.permutations(range(num_experts)))
        expected = [0.0] * num_experts
        for order in orders:
            mask = 0
            for k in order:
                expected[k] += (values[mask | 1 << k] - values[mask]) / len(orders)
                mask |= 1 << k
        assert shapley == pytest.approx(expected, abs=1e-12)


def test_an_expert_that_adds_nothing_is_worth_nothing() -> None:
    # Accuracy by the number of experts 0 and 1 that are present; 2 never matters.
    values = [[0.1, 0.5, 0.5, 0.9][mask & 3] for mask in range(8)]
    assert shapley_values(values) == pytest.approx([0.4, 0.4, 0.0], abs=1e-12)


def test_with_many_experts_only_what_each_alone_costs_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("multiplicative")
    everything = measure(model)
    monkeypatch.setattr(subsets, "MAX_EXPERTS", 2)
    some = measure(model)
    assert some.subsets is not None
    assert everything.subsets is not None
    assert some.subsets.accuracies == {}
    assert some.subsets.without == pytest.approx(everything.subsets.without, abs=1.5 / N)
    assert "this model has 3" in some.absent["shapley_expert_0"]
    assert "shapley_expert_0" not in some.metrics


@pytest.mark.parametrize("max_experts", [2, 10])
def test_every_image_counts_once_whatever_the_sizes_of_batches(
    monkeypatch: pytest.MonkeyPatch, max_experts: int
) -> None:
    monkeypatch.setattr(subsets, "MAX_EXPERTS", max_experts)
    model, features = make_model("multiplicative"), [torch.randn(N, 16) for _ in range(3)]
    whole = subsets.subset_accuracies(model, features, LABELS, CPU, fused=0.5).without
    monkeypatch.setattr(subsets, "_SHARED_BATCH", 64)
    monkeypatch.setattr(subsets, "_MAX_NUMBERS", {"cpu": 1000})
    assert subsets.subset_accuracies(model, features, LABELS, CPU, fused=0.5).without == pytest.approx(
        whole, abs=1.5 / N
    )


def test_an_output_that_is_not_finite_is_no_answer() -> None:
    model = make_model("multiplicative")
    assert model.fusion is not None
    elements = model.fusion.combine.absent.elements
    assert isinstance(elements, Tensor)
    with torch.no_grad():
        elements[0] = float("nan")
    measured = measure(model)
    assert measured.metrics["accuracy_without_expert_0"] == 0.0
    assert measured.metrics["accuracy_without_expert_1"] > 0.0


def test_a_result_has_what_every_expert_is_worth(tmp_path: Path) -> None:
    result = run(fusion(count=3, epochs=1, fusion={"expert_dropout": 0.3}), tmp_path)
    fused = result.metrics["test/accuracy_fused"]
    assert result.subsets["0,1,2"] == fused
    assert len(result.subsets) == 8
    assert sum(result.shapley) == pytest.approx(fused - result.subsets["none"], abs=1e-9)
    assert result.shapley == [result.metrics[f"test/shapley_expert_{k}"] for k in range(3)]
    without = [result.metrics[f"test/accuracy_without_expert_{k}"] for k in range(3)]
    assert result.leave_one_out == [fused - accuracy for accuracy in without]
    # The end of a run reads the same.
    assert run(fusion(count=3, epochs=1, fusion={"expert_dropout": 0.3}), tmp_path) == result
