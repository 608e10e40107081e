from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, recall_score
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from core.model.model import Outputs
from core.runtime import Runtime
from core.train.evaluate import Evaluation, Tally

N, K, C = 203, 3, 7
CPU = Runtime(torch.device("cpu"), torch.float32)


def case(seed: int = 0) -> tuple[Outputs, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, C, (N,), generator=generator)
    lean = 1.5 * torch.nn.functional.one_hot(labels, C)
    logits = [torch.randn(N, C, generator=generator) * 2 + lean for _ in range(K + 1)]
    return Outputs(logits[0], logits[1:]), labels


def measure(outputs: Outputs, labels: torch.Tensor, batch: int = 50) -> Evaluation:
    tally = Tally(len(outputs.experts), C, fused=outputs.fused is not None)
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
    assert measured["accuracy_ensemble"] == pytest.approx(accuracy(ensemble, labels).item())


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


@pytest.mark.parametrize("batch", [1, 7, N])
def test_batches_do_not_matter(batch: int) -> None:
    whole, parts = measure(*case()), measure(*case(), batch=batch)
    assert parts.num_images == whole.num_images == N
    assert parts.metrics == pytest.approx(whole.metrics, rel=1e-9)


def test_a_class_without_images_has_no_accuracy() -> None:
    outputs, labels = case()
    keep = labels != 3
    assert outputs.fused is not None
    kept = Outputs(outputs.fused[keep], [logits[keep] for logits in outputs.experts])
    assert measure(kept, labels[keep]).per_class["fused"][3] is None


def test_experts_of_some_classes_are_scored_over_all_and_have_no_ensemble() -> None:
    labels = torch.tensor([0, 1, 2, 3])
    first, second = torch.eye(2).repeat(2, 1), torch.eye(2).repeat(2, 1)
    tally = Tally(2, 4, fused=False, classes=[(0, 1), (2, 3)])
    tally.add(Outputs(None, [first, second]), labels)
    measured = tally.result(CPU)
    assert measured.metrics["accuracy_expert_0"] == measured.metrics["accuracy_expert_1"] == 0.5
    assert measured.metrics["accuracy_oracle"] == 1.0
    assert "accuracy_ensemble" not in measured.metrics
    assert "only some of the classes" in measured.absent["accuracy_ensemble"]
