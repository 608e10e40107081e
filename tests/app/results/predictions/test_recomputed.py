"""Every figure on test is what the downloaded predictions give."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.results.statistics.agreement import accuracy_by_class, disagreement_matrix, mean_disagreement, oracle_accuracy
from app.results.statistics.calibration import expected_calibration_error
from app.results.statistics.ensembles import mean_logits, mean_probabilities, widen
from app.results.statistics.scores import Scores, score
from tests.app.api import Service
from tests.app.results.predictions.trained import train
from tests.core.jobs import DIGITS, component, expert, fusion, run

pytestmark = pytest.mark.slow

# What the model answers with other features, or without an expert's, does not follow from its outputs.
NOT_FROM_LOGITS = ("test/contribution_", "test/accuracy_without_", "test/shapley_")


def stored_scores(arrays: dict[str, np.ndarray], path: str) -> Scores:
    """The scores of a path, with the classes that were predicted before any rounding."""
    scores = score(arrays[f"logits_{path}"], arrays["labels"], arrays.get(f"classes_{path}"))
    predicted = arrays[f"predicted_{path}"]
    assert arrays[f"logits_{path}"].dtype == np.float16 or (predicted == scores.predicted).all()
    return replace(scores, predicted=predicted, correct=predicted == arrays["labels"])


def scores_of(arrays: dict[str, np.ndarray]) -> dict[str, Scores]:
    """The scores of every path and of the ensembles that are defined."""
    paths = [name.removeprefix("logits_") for name in arrays if name.startswith("logits_")]
    labels, num_classes = arrays["labels"], int(arrays["num_classes"])
    scores = {path: stored_scores(arrays, path) for path in paths}
    experts = [path for path in paths if path.startswith("expert_") and not path.endswith("_before")]
    if len(experts) > 1:
        wide = [widen(arrays[f"logits_{path}"], arrays.get(f"classes_{path}"), num_classes) for path in experts]
        scores["ensemble_probabilities"] = score(mean_probabilities(wide), labels)
        if not any(f"classes_{path}" in arrays for path in experts):
            scores["ensemble_logits"] = scores["ensemble"] = score(mean_logits(wide), labels)
    return scores


def figures(arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Metrics by key, as in `result.json`."""
    scores = scores_of(arrays)
    experts = [path for path in scores if path.startswith("expert_") and not path.endswith("_before")]
    metrics = {f"test/accuracy_{path}": value.accuracy for path, value in scores.items()}
    main = "fused" if "fused" in scores else "expert_0"
    if f"classes_{main}" not in arrays:
        metrics["test/nll"] = scores[main].nll
        metrics["test/ece"] = expected_calibration_error(scores[main].confidence, scores[main].correct)
    if len(experts) > 1:
        metrics["test/accuracy_oracle"] = oracle_accuracy([scores[path].correct for path in experts])
        metrics["test/disagreement"] = mean_disagreement([scores[path].predicted for path in experts])
    return metrics


def downloaded(service: Service, job: str, split: str = "test") -> dict[str, np.ndarray]:
    answer = service.get(f"/jobs/{job}/predictions?split={split}")
    assert answer.status_code == 200, answer.text
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as arrays:
        return dict(arrays)


def check(service: Service, job: str, result: Any) -> None:
    arrays = downloaded(service, job)
    scores = scores_of(arrays)
    stored = {key: value for key, value in result.metrics.items() if not key.startswith(NOT_FROM_LOGITS)}
    assert figures(arrays) == pytest.approx(stored, abs=1e-6)
    labels, num_classes = arrays["labels"], int(arrays["num_classes"])
    for path, by_class in result.per_class.items():
        assert accuracy_by_class(scores[path].correct, labels, num_classes) == pytest.approx(by_class, abs=1e-6)
    if result.pairwise_disagreement:
        experts = [scores[f"expert_{k}"].predicted for k in range(len(result.pairwise_disagreement))]
        assert disagreement_matrix(experts) == pytest.approx(np.array(result.pairwise_disagreement), abs=1e-6)


def test_of_a_job_with_experts_before_and_after(service: Service, tmp_path: Path) -> None:
    for k in range(2):
        run(expert(k, epochs=2), tmp_path / str(k))
    sources = [{"from": {"path": str(component(tmp_path / str(k), "expert_0"))}} for k in range(2)]
    job, result = train(service, fusion(dataset=DIGITS, epochs=2) | {"experts": sources})
    assert {"test/accuracy_expert_0_before", "test/accuracy_ensemble_logits"} <= result.metrics.keys()
    assert len(result.pairwise_disagreement) == 2
    check(service, job, result)


def test_of_a_job_whose_experts_know_some_classes(service: Service, tmp_path: Path) -> None:
    for k in range(2):
        run(expert(k, epochs=2), tmp_path / str(k))
    sources = [{"from": {"path": str(component(tmp_path / str(k), "expert_0"))}} for k in range(2)]
    frozen = {"experts": {"frozen": True}}
    job, result = train(service, fusion(dataset=DIGITS, epochs=1, components=frozen) | {"experts": sources})
    assert "test/accuracy_ensemble_logits" not in result.metrics
    assert "test/accuracy_ensemble_probabilities" in result.metrics
    check(service, job, result)


def test_of_one_expert_that_knows_some_classes(service: Service) -> None:
    job, result = train(service, expert(1, epochs=1))
    assert "test/nll" in result.absent
    check(service, job, result)


def test_of_one_expert_of_all_classes(service: Service) -> None:
    job, result = train(service, expert(0, dataset={"name": "digits"}, epochs=8))
    assert "test/nll" in result.metrics
    check(service, job, result)


def test_of_a_job_with_rounded_logits(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float16, what follows from predicted classes is exact; NLL, ECE and ensembles are rounded."""
    monkeypatch.setattr("core.train.predictions.FLOAT16_ABOVE_BYTES", 0)
    for k in range(2):
        run(expert(k, epochs=2), tmp_path / str(k))
    sources = [{"from": {"path": str(component(tmp_path / str(k), "expert_0"))}} for k in range(2)]
    job, result = train(service, fusion(dataset=DIGITS, epochs=2, precision="float32") | {"experts": sources})
    arrays = downloaded(service, job)
    assert arrays["logits_fused"].dtype == np.float16
    recomputed = figures(arrays)
    stored = {key: value for key, value in result.metrics.items() if not key.startswith(NOT_FROM_LOGITS)}
    # One image more or less in a bin, or whose experts disagree, of 360.
    tolerances = {key: 1 / 360 + 1e-6 for key in stored if "ensemble" in key}
    tolerances |= {"test/nll": 1e-4, "test/ece": 1 / 360}
    for key, tolerance in tolerances.items():
        assert recomputed[key] == pytest.approx(stored[key], abs=tolerance), key
    exact = {key: value for key, value in stored.items() if key not in tolerances}
    assert {"test/accuracy_fused", "test/accuracy_oracle", "test/disagreement"} <= exact.keys()
    assert {key: recomputed[key] for key in exact} == pytest.approx(exact, abs=1e-6)
