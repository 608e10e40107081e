"""Scores, calibration error and temperature, against torch, torchmetrics and a search on a grid."""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import brentq
from torchmetrics.functional.classification import multiclass_calibration_error

from app.results.statistics import temperature as temperature_scaling
from app.results.statistics.calibration import expected_calibration_error
from app.results.statistics.ensembles import mean_logits, mean_probabilities, widen
from app.results.statistics.scores import score
from app.results.statistics.temperature import HIGHEST, LOWEST, fit_temperature

N, C = 6_000, 7


def sample(temperature: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C) that are too confident by a factor, and labels drawn from the probabilities without it."""
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=1.5, size=(N, C))
    labels = (logits + rng.gumbel(size=(N, C))).argmax(axis=1)
    return (temperature * logits).astype(np.float32), labels


def test_scores_are_those_of_torch_and_torchmetrics() -> None:
    logits, labels = sample(2.0)
    scores = score(logits, labels)
    tensor = torch.from_numpy(logits).double()
    assert scores.nll == pytest.approx(F.cross_entropy(tensor, torch.from_numpy(labels)).item(), abs=1e-12)
    assert scores.accuracy == (tensor.argmax(1).numpy() == labels).mean()
    ece = multiclass_calibration_error(tensor.softmax(1), torch.from_numpy(labels), C, n_bins=15, norm="l1")
    assert expected_calibration_error(scores.confidence, scores.correct) == pytest.approx(ece.item(), abs=1e-6)


def test_the_temperature_undoes_overconfidence() -> None:
    logits, labels = sample(2.0)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(2.0, abs=0.1)
    grid = [score(logits, labels, temperature=temperature * factor).nll for factor in (0.99, 1.0, 1.01)]
    assert min(grid) == grid[1]
    scaled = score(logits, labels, temperature=temperature)
    assert expected_calibration_error(scaled.confidence, scaled.correct) < 0.03
    assert scaled.accuracy == score(logits, labels).accuracy


def bracketed_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature by a root finder that knows no second derivative."""
    finite = torch.from_numpy(logits.astype(np.float64))
    at_label = finite[torch.arange(len(labels)), torch.from_numpy(labels)]

    def derivative(inverse: float) -> float:
        probs = (inverse * finite).softmax(1)
        return float(((probs * finite.clamp(min=-1e9)).sum(1) - at_label).mean())

    return 1.0 / float(brentq(derivative, 1 / HIGHEST, 1 / LOWEST, xtol=1e-12, rtol=1e-12))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("scale", "shift"), [(0.05, 0.0), (1.0, -300.0), (2.0, 40.0), (60.0, 0.0)])
def test_a_temperature_takes_few_passes_over_the_logits(
    dtype: type, scale: float, shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, labels = sample(scale, seed=3)
    logits = (logits + shift).astype(dtype)
    # Some classes have no probability for some images.
    impossible = np.random.default_rng(4).random(logits.shape) < 0.1
    impossible[np.arange(N), labels] = False
    logits[impossible] = -np.inf
    derivatives = Mock(wraps=temperature_scaling._derivatives)
    monkeypatch.setattr(temperature_scaling, "_derivatives", derivatives)
    assert fit_temperature(logits, labels) == pytest.approx(bracketed_temperature(logits, labels), rel=1e-6)
    assert derivatives.call_count <= 12


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_have_no_temperature(value: float) -> None:
    logits, labels = sample()
    logits[17, 2] = value
    with pytest.raises(ValueError, match="not finite"):
        fit_temperature(logits, labels)


def test_a_temperature_takes_500_images_and_a_logit_for_every_class() -> None:
    logits, labels = sample()
    with pytest.raises(ValueError, match="499 validation images are too few"):
        fit_temperature(logits[:499], labels[:499])
    with pytest.raises(ValueError, match="classes without a logit"):
        fit_temperature(logits[:, :4], labels)
    assert fit_temperature(logits[:500], labels[:500]) > 0


def test_a_temperature_at_a_bound_is_none() -> None:
    logits, labels = sample()
    with pytest.raises(ValueError, match="every validation image is classified correctly, so that no temperature"):
        fit_temperature(logits, logits.argmax(axis=1))
    with pytest.raises(ValueError, match="above 100: the outputs say nothing"):
        fit_temperature(logits, logits.argmin(axis=1))
    with pytest.raises(ValueError, match=r"is below 0\.01"):
        fit_temperature(logits / 1_000, labels)
    one_wrong = logits.argmax(axis=1)
    one_wrong[0] = logits[0].argmin()
    assert LOWEST < fit_temperature(logits, one_wrong) < 1


def test_bins_of_the_calibration_error_are_closed_above() -> None:
    """A confidence of exactly 1/3 is in the bin from 4/15 to 5/15, with one just below it."""
    confidence = np.array([1 / 3 - 0.01, 5 / 15, 5 / 15 + 0.01])
    correct = np.array([False, True, False])
    below, above = abs(confidence[0] + confidence[1] - 1), confidence[2]
    assert expected_calibration_error(confidence, correct) == pytest.approx((below + above) / 3)


def test_an_expert_of_some_classes_gives_the_others_no_probability() -> None:
    logits, labels = sample()
    classes = np.array([1, 3, 4])
    scores = score(logits[:, :3], labels, classes)
    assert set(scores.predicted.tolist()) == {1, 3, 4}
    assert np.isneginf(scores.log_likelihood[~np.isin(labels, classes)]).all()
    wide = score(widen(logits[:, :3], classes, C), labels)
    assert (wide.predicted == scores.predicted).all()
    assert wide.log_likelihood == pytest.approx(scores.log_likelihood)


def test_an_ensemble_of_probabilities_is_a_mean_of_softmaxes() -> None:
    one, two = sample(seed=1)[0], sample(3.0, seed=2)[0]
    expected = (torch.from_numpy(one).double().softmax(1) + torch.from_numpy(two).double().softmax(1)) / 2
    assert np.exp(mean_probabilities([one, two])) == pytest.approx(expected.numpy(), abs=1e-12)
    assert mean_logits([one, two]) == pytest.approx((one + two) / 2, abs=1e-6)
    partial = mean_probabilities([widen(one[:, :2], np.array([0, 1]), C), widen(two[:, 2:], np.arange(2, C), C)])
    assert np.exp(partial).sum(axis=1) == pytest.approx(1.0)
    labels = (partial + np.random.default_rng(5).gumbel(size=partial.shape)).argmax(axis=1)
    assert fit_temperature(partial, labels) == pytest.approx(1.0, abs=0.1)
