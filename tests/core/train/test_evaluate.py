from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, recall_score
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from core.model.model import Outputs
from core.runtime import Runtime
from core.train.evaluate import Tally
from core.train.evaluation_metrics import Evaluation

N, K, C = 203, 3, 7
CPU = Runtime(torch.device("cpu"), torch.float32)


def case(seed: int = 0) -> tuple[Outputs, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, C, (N,), generator=generator)
    lean = 1.5 * torch.nn.functional.one_hot(labels, C)
    logits = [torch.randn(N, C, generator=generator) * 2 + lean for _ in range(K + 1)]
    return Outputs(logits[0], logits[1:]), labels


def measure(outputs: Outputs, labels: torch.Tensor, batch: int = 50, num_classes: int = C) -> Evaluation:
    tally = Tally(len(outputs.experts), num_classes, fused=outputs.fused is not None)
    for start in range(0, len(labels), batch):
        rows = slice(start, start + batch)
        fused = None if outputs.fused is None else outputs.fused[rows]
        tally.add(Outputs(fused, [logits[rows] for logits in outputs.experts]), labels[rows])
    return tally.result(CPU)


def test_accuracies_are_torchmetrics() -> None:
    outputs, labels = case()
    measured = measure(outputs, labels).metrics
    accuracy = MulticlassAccuracy(num_classes=C, average="micro")
    assert outputs.fused is not None
    assert measured["accuracy_fused"] == pytest.approx(accuracy(outputs.fused, labels).item())
    for k, logits in enumerate(outputs.experts):
        assert measured[f"accuracy_expert_{k}"] == pytest.approx(accuracy(logits, labels).item())
    ensemble = torch.stack(outputs.experts).mean(0)
    assert measured["accuracy_ensemble_logits"] == pytest.approx(accuracy(ensemble, labels).item())
    assert measured["accuracy_ensemble"] == measured["accuracy_ensemble_logits"]
    probabilities = torch.stack([logits.softmax(1) for logits in outputs.experts]).mean(0)
    assert measured["accuracy_ensemble_probabilities"] == pytest.approx(accuracy(probabilities, labels).item())


def test_calibration_error_is_torchmetrics_and_nll_scikit_learns() -> None:
    outputs, labels = case()
    measured = measure(outputs, labels).metrics
    assert outputs.fused is not None
    ece = MulticlassCalibrationError(num_classes=C, n_bins=15, norm="l1")
    assert measured["ece"] == pytest.approx(ece(outputs.fused, labels).item(), abs=1e-6)
    nll = log_loss(labels, outputs.fused.double().softmax(1).numpy(), labels=range(C))
    assert measured["nll"] == measured["loss_global"] == pytest.approx(nll, rel=1e-6)


def test_accuracy_by_class_is_scikit_learns_recall() -> None:
    outputs, labels = case()
    per_class = measure(outputs, labels).per_class
    for path, logits in zip(["fused", "expert_0", "expert_1"], [outputs.fused, *outputs.experts], strict=False):
        assert logits is not None
        expected = recall_score(labels, logits.argmax(1), average=None, labels=range(C))
        assert per_class[path] == pytest.approx(expected.tolist())


def test_oracle_and_disagreement_are_their_definitions() -> None:
    outputs, labels = case()
    measured = measure(outputs, labels).metrics
    predictions = np.stack([logits.argmax(1).numpy() for logits in outputs.experts])
    assert measured["accuracy_oracle"] == pytest.approx((predictions == labels.numpy()).any(0).mean())
    pairs = [(predictions[i] != predictions[j]).mean() for i, j in itertools.combinations(range(K), 2)]
    assert measured["disagreement"] == pytest.approx(np.mean(pairs))
    matrix = measure(outputs, labels).pairwise_disagreement
    expected = [[(predictions[i] != predictions[j]).mean() for j in range(K)] for i in range(K)]
    assert [value for row in matrix for value in row] == pytest.approx([value for row in expected for value in row])


def test_an_expert_wins_the_images_on_which_its_loss_is_the_smallest() -> None:
    outputs, labels = case()
    losses = torch.stack([cross_entropy(logits.double(), labels, reduction="none") for logits in outputs.experts])
    winner = losses.argmin(0)
    expected = [[int(((winner == k) & (labels == c)).sum()) for c in range(C)] for k in range(K)]
    assert measure(outputs, labels).wins_by_class == expected
    # Of equal experts the first wins, and one expert alone has nobody to win over.
    tied = Outputs(None, [outputs.experts[0]] * 2)
    assert sum(measure(tied, labels).wins_by_class[0]) == N
    assert measure(Outputs(None, outputs.experts[:1]), labels).wins_by_class == []


def test_nobody_wins_an_image_of_a_class_that_no_expert_knows() -> None:
    tally = Tally(2, 4, fused=False, classes=[(0, 1), (0, 2)])
    tally.add(Outputs(None, [torch.zeros(4, 2), torch.zeros(4, 2)]), torch.tensor([0, 1, 2, 3]))
    assert tally.result(CPU).wins_by_class == [[1, 1, 0, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize("batch", [1, 7, N])
def test_batches_do_not_matter(batch: int) -> None:
    whole, parts = measure(*case()), measure(*case(), batch=batch)
    assert parts.num_images == whole.num_images == N
    assert parts.metrics == pytest.approx(whole.metrics, rel=1e-9)


def test_a_process_without_images_adds_nothing() -> None:
    sent: list[torch.Tensor] = []

    class First(Runtime):
        def sum(self, values: torch.Tensor) -> torch.Tensor:
            sent.append(values)
            return values

    class Second(Runtime):
        def sum(self, values: torch.Tensor) -> torch.Tensor:
            return values + sent[0]

        def sum_scalar(self, value: float) -> float:
            return value + N

    outputs, labels = case()
    tally = Tally(K, C, fused=True)
    tally.add(outputs, labels)
    measured = tally.result(First(torch.device("cpu"), torch.float32))
    assert Tally(K, C, fused=True).result(Second(torch.device("cpu"), torch.float32)) == measured


def test_a_class_without_images_has_no_accuracy() -> None:
    outputs, labels = case()
    keep = labels != 3
    assert outputs.fused is not None
    kept = Outputs(outputs.fused[keep], [logits[keep] for logits in outputs.experts])
    assert measure(kept, labels[keep]).per_class["fused"][3] is None


def test_experts_of_some_classes_are_scored_over_all_and_only_their_probabilities_have_an_ensemble() -> None:
    labels = torch.tensor([0, 1, 2, 3])
    first, second = torch.eye(2).repeat(2, 1), torch.eye(2).repeat(2, 1)
    tally = Tally(2, 4, fused=False, classes=[(0, 1), (2, 3)])
    tally.add(Outputs(None, [first, second]), labels)
    measured = tally.result(CPU)
    assert measured.metrics["accuracy_expert_0"] == measured.metrics["accuracy_expert_1"] == 0.5
    assert measured.metrics["accuracy_oracle"] == 1.0
    for key in ("accuracy_ensemble", "accuracy_ensemble_logits"):
        assert key not in measured.metrics
        assert "only some of the classes" in measured.absent[key]
    # Each expert is as sure of a class of its own: the first of both wins.
    assert measured.metrics["accuracy_ensemble_probabilities"] == 0.5


def test_the_ensembles_of_logits_and_of_probabilities_can_differ() -> None:
    sure, unsure = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[-20.0, 0.1, 0.0]])
    measured = measure(Outputs(None, [sure, unsure, unsure, unsure]), torch.tensor([0]), num_classes=3)
    assert measured.metrics["accuracy_ensemble_logits"] == 0.0
    assert measured.metrics["accuracy_ensemble_probabilities"] == 0.0
    measured = measure(Outputs(None, [sure, unsure]), torch.tensor([0]), num_classes=3)
    assert measured.metrics["accuracy_ensemble_logits"] == 0.0
    assert measured.metrics["accuracy_ensemble_probabilities"] == 1.0


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_outputs_that_are_not_finite_are_absent_with_their_path_and_never_correct(value: float) -> None:
    outputs, labels = case()
    # Without a check, argmax over NaN would answer class 0.
    labels = torch.zeros_like(labels)
    outputs.experts[1][3] = value
    measured = measure(outputs, labels)
    reason = f"expert_1 has outputs that are not finite for 1 of {N} images"
    assert measured.non_finite == {"expert_1": 1}
    assert {key for key, why in measured.absent.items() if why == reason} >= {
        "accuracy_expert_1",
        "loss_expert_1",
        "accuracy_ensemble",
        "accuracy_oracle",
        "disagreement",
    }
    assert not set(measured.absent) & set(measured.metrics)
    assert "expert_1" not in measured.per_class
    assert measured.pairwise_disagreement == []
    assert measured.wins_by_class == []
    assert {"accuracy_fused", "nll", "accuracy_expert_0"} <= set(measured.metrics)
