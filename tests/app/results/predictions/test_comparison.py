"""Comparisons of two models on the same images."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from app.results.predictions import stored
from app.results.statistics.calibration import expected_calibration_error
from app.results.statistics.intervals import difference_interval
from app.results.statistics.scores import score
from tests.app.api import Service
from tests.app.results.predictions.trained import Arrays, logits_of, run_dir_of, set_data, with_predictions

N = 400
LABELS = np.arange(N) % 3
SPLITS = {"test": slice(600), "val": slice(600, None)}


def wrong_on(*images: int, labels: np.ndarray = LABELS) -> Arrays:
    """The predictions of a model that errs on these images alone."""
    predicted = labels.copy()
    predicted[list(images)] = (predicted[list(images)] + 1) % 3
    return {"labels": labels, "logits_fused": logits_of(predicted)}


def compare(service: Service, a: str, b: str, **query: str) -> dict[str, Any]:
    answer = service.get("/compare", params={"a": a, "b": b, **query})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refusal(service: Service, a: str, b: str, status: int = 422, **query: str) -> str:
    answer = service.get("/compare", params={"a": a, "b": b, **query})
    assert answer.status_code == status, answer.text
    return str(answer.json()["detail"])


def test_the_difference_has_an_interval_and_an_exact_p_value(service: Service) -> None:
    a = with_predictions(service, "a", {"test": wrong_on(0, 1, 2, 3)})
    b = with_predictions(service, "b", {"test": wrong_on(2, 3, 4, 5, 6, 7, 8)})
    body = compare(service, a, b)
    low, high = difference_interval(5, 2, N)
    assert body["difference"] == {
        "value": pytest.approx(3 / N),
        "low": low,
        "high": high,
        "excludes_zero": False,
        "only_a": 5,
        "only_b": 2,
        "p": pytest.approx(binomtest(2, 7).pvalue, abs=1e-12),
    }
    assert body["a"]["accuracy"] == pytest.approx(1 - 4 / N)
    assert body["a"]["low"] < body["a"]["accuracy"] < body["a"]["high"]
    assert (body["oracle"], body["disagreement"]) == (pytest.approx(1 - 2 / N), pytest.approx(7 / N))
    assert body["by_class"][0] == {
        "label": 0,
        "num_images": 134,
        "a": pytest.approx(1 - 2 / 134),
        "b": pytest.approx(1 - 2 / 134),
    }
    assert body["sentence"] == (
        f"a is 0.8 points better than b, 95 % interval {100 * low:.1f} to {100 * high:.1f}, p = 0.45: "
        "not distinguishable on 400 images"
    )


def test_a_model_compared_with_itself_is_said_to_be_the_same(service: Service) -> None:
    job = with_predictions(service, "one", {"test": wrong_on(0, 1)})
    for other in (job, f"{job}:fused"):
        body = compare(service, job, other)
        assert body["sentence"] == "A and B are the same model, one (fused): there is no difference to measure"
    copy = with_predictions(service, "two", {"test": wrong_on(0, 1)})
    assert "equally accurate" in compare(service, job, copy)["sentence"]


def test_swapping_the_models_changes_the_sign_alone(service: Service) -> None:
    a = with_predictions(service, "a", {"test": wrong_on()})
    b = with_predictions(service, "b", {"test": wrong_on(*range(30))})
    forth, back = compare(service, a, b)["difference"], compare(service, b, a)["difference"]
    assert (forth["value"], forth["p"]) == (-back["value"], back["p"])
    assert (forth["low"], forth["high"]) == (-back["high"], -back["low"])
    assert forth["excludes_zero"]
    assert back["excludes_zero"]
    assert "b is 7.5 points worse than a" in compare(service, b, a)["sentence"]
    assert "p < 0.0001: distinguishable on 400 images" in compare(service, b, a)["sentence"]


def test_paths_of_one_job_and_ensembles_can_be_compared(service: Service) -> None:
    arrays = wrong_on(0) | {
        "logits_expert_0": logits_of((LABELS + (np.arange(N) < 9)) % 3, strength=1.0),
        "logits_expert_1": logits_of((LABELS + (np.arange(N) > 390)) % 3, strength=3.0),
        "logits_expert_0_before": logits_of(np.zeros(N, dtype=int)),
    }
    job = with_predictions(service, "one", {"test": arrays})
    body = compare(service, job, f"{job}:ensemble_logits")
    assert (body["a"]["path"], body["b"]["path"]) == ("fused", "ensemble_logits")
    mean = (arrays["logits_expert_0"] + arrays["logits_expert_1"]) / 2
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(mean).double(), torch.from_numpy(LABELS))
    assert body["b"]["nll"] == pytest.approx(loss.item(), abs=1e-9)
    assert body["sentence"].startswith("fused is 2.0 points better than ensemble_logits")
    assert compare(service, f"{job}:expert_0_before", f"{job}:ensemble_probabilities")["a"]["accuracy"] < 0.4
    assert "it has fused, expert_0, expert_1" in refusal(service, job, f"{job}:expert_7", 404)


def test_an_expert_job_is_compared_by_its_expert(service: Service) -> None:
    classes = np.array([0, 2])
    known = {
        "labels": LABELS,
        "logits_expert_0": logits_of(np.zeros(N, dtype=int), 2),
        "classes_expert_0": classes,
    }
    job = with_predictions(service, "expert", {"test": known, "val": known}, kind="expert")
    whole = with_predictions(service, "whole", {"test": wrong_on(1)})
    body = compare(service, job, whole)
    assert (body["a"]["path"], body["a"]["accuracy"]) == ("expert_0", pytest.approx(134 / N))
    assert (body["a"]["nll"], body["a"]["ece"], body["a"]["scaled"]) == (None, None, None)
    assert "expert (expert_0) is" in body["sentence"]


def test_a_temperature_is_fitted_on_at_least_500_validation_images(service: Service) -> None:
    print("seed 4")
    rng = np.random.default_rng(4)
    logits = rng.normal(scale=2.0, size=(2_000, 3))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    confident = (3.0 * logits).astype(np.float32)
    test = {"labels": labels[:1_000], "logits_fused": confident[:1_000]}
    jobs = [
        with_predictions(
            service, str(count), {"test": test, "val": {"labels": labels[-count:], "logits_fused": confident[-count:]}}
        )
        for count in (499, 500)
    ]
    body = compare(service, *jobs)
    assert body["a"]["scaled"] is None
    assert body["a"]["not_scaled"] == "499 validation images are too few to fit a temperature: it takes 500"
    scaled = body["b"]["scaled"]
    assert scaled["num_validation_images"] == 500
    assert scaled["temperature"] == pytest.approx(3.0, abs=0.5)
    assert scaled["nll"] < body["b"]["nll"]
    assert scaled["ece"] < body["b"]["ece"]
    assert "on the same images" in compare(service, jobs[1], jobs[1], split="val")["a"]["not_scaled"]


def experts(count: int) -> Arrays:
    return {"labels": LABELS, **{f"logits_expert_{k}": logits_of((LABELS + (k == 1)) % 3) for k in range(count)}}


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("MAX_ENSEMBLE_LOGITS", "1,200 logits (images times classes) are too many"),
        ("MAX_EXPERT_LOGITS", "3,600 logits (images times classes times experts) are too many"),
    ],
)
def test_ensembles_of_too_many_logits_say_so(
    service: Service, monkeypatch: pytest.MonkeyPatch, limit: str, why: str
) -> None:
    job = with_predictions(service, "three", {"test": experts(3)})
    assert compare(service, f"{job}:expert_0", f"{job}:ensemble_logits")
    monkeypatch.setattr(stored, limit, 1_199)
    assert why in refusal(service, f"{job}:expert_0", f"{job}:ensemble_product", 404)
    alone = with_predictions(service, "one", {"test": experts(1)})
    assert "because it takes at least two experts" in refusal(
        service, f"{alone}:expert_0", f"{alone}:ensemble_logits", 404
    )


def test_an_ensemble_holds_the_logits_of_one_expert_at_a_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = with_predictions(service, "eight", {"test": experts(8)})
    experts_read: list[weakref.ref[np.ndarray]] = []
    most = 0

    def watched(values: np.ndarray, *_: object) -> np.ndarray:
        nonlocal most
        experts_read.append(weakref.ref(values))
        most = max(most, sum(one() is not None for one in experts_read))
        return values

    monkeypatch.setattr(stored, "widen", watched)
    for ensemble in stored.ENSEMBLES:
        assert compare(service, f"{job}:expert_0", f"{job}:{ensemble}")
    assert 0 < most <= 2


def test_a_temperature_is_never_that_of_an_earlier_validation_file(service: Service) -> None:
    print("seed 5")
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(500, 3)).astype(np.float32)
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    arrays = {"labels": labels, "logits_fused": logits}
    job = with_predictions(service, "one", {"test": arrays, "val": arrays})
    file = run_dir_of(service, job) / "predictions/val.npz"
    content = file.read_bytes()
    first = compare(service, job, job)["a"]
    assert first["scaled"]
    file.unlink()
    gone = compare(service, job, job)["a"]
    assert (gone["scaled"], "have been deleted" in gone["not_scaled"]) == (None, True)
    file.write_bytes(content)
    assert compare(service, job, job)["a"] == first
    file.write_bytes(content[:-100] + bytes(100))
    damaged = compare(service, job, job)["a"]
    assert (damaged["scaled"], "are damaged" in damaged["not_scaled"]) == (None, True)


def test_a_validation_without_errors_fits_no_temperature(service: Service) -> None:
    labels = np.arange(500) % 3
    perfect = {"labels": labels, "logits_fused": logits_of(labels)}
    job = with_predictions(service, "perfect", {"test": wrong_on(0), "val": perfect})
    model = compare(service, job, job)["a"]
    assert model["scaled"] is None
    assert model["not_scaled"] == (
        "every validation image is classified correctly, so that no temperature can be fitted"
    )


def test_what_was_predicted_before_rounding_counts(service: Service) -> None:
    """Also for the calibration error after scaling, which has the same accuracy."""
    print("seed 6")
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 3, size=1_200)
    logits = rng.normal(size=(1_200, 3)).astype(np.float16)
    logits[np.arange(1_200), labels] += np.float16(1)
    exact = logits.argmax(axis=1)
    # Rounding has made the logits of class 0 and of the last class equal, and argmax takes the first one.
    tied = np.arange(1_200) % 4 == 0
    logits[tied, 0] = logits[tied, 2] = logits[tied].max(axis=1)
    exact[tied] = labels[tied] = 2
    arrays = {"labels": labels, "logits_fused": logits, "predicted_fused": exact}
    job = with_predictions(
        service,
        "rounded",
        {split: {name: array[rows] for name, array in arrays.items()} for split, rows in SPLITS.items()},
    )
    model = compare(service, job, job)["a"]
    test = {name: array[SPLITS["test"]] for name, array in arrays.items()}
    correct = test["predicted_fused"] == test["labels"]
    assert model["accuracy"] == pytest.approx(correct.mean())
    assert correct.mean() > (test["logits_fused"].argmax(axis=1) == test["labels"]).mean() + 0.2
    for temperature, ece in ((1.0, model["ece"]), (model["scaled"]["temperature"], model["scaled"]["ece"])):
        confidence = score(test["logits_fused"], test["labels"], temperature=temperature).confidence
        assert ece == pytest.approx(expected_calibration_error(confidence, correct), abs=1e-9)


def test_models_that_were_measured_on_other_images_are_refused(service: Service) -> None:
    one = with_predictions(service, "one", {"test": wrong_on()})
    digits = with_predictions(service, "two", {"test": wrong_on()}, dataset="npz:other.npz")
    assert "one on digits, the other on npz:other.npz" in refusal(service, one, digits)
    fewer = with_predictions(service, "three", {"test": wrong_on(labels=LABELS[:100])})
    assert "not measured on the same test images: 400 and 100, of which 100 are in both" in refusal(service, one, fewer)
    relabelled = with_predictions(service, "four", {"test": wrong_on(labels=(LABELS + 1) % 3)})
    assert "400 of 400 test images have another label" in refusal(service, one, relabelled)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_refused(service: Service, value: float) -> None:
    arrays = wrong_on()
    arrays["logits_fused"][:7, 1] = value
    broken = with_predictions(service, "broken", {"test": arrays})
    assert "not finite for 7 of 400 images" in refusal(service, broken, broken)


def test_jobs_without_predictions_say_why(service: Service) -> None:
    one = with_predictions(service, "one", {"test": wrong_on()})
    assert "is queued and has no predictions" in refusal(service, one, service.submit(), 404)
    assert "there is no job 'job_none'" in refusal(service, one, "job_none", 404)
    assert refusal(service, one, "no such:thing!")
    assert refusal(service, one, one, split="train")


def test_images_that_have_changed_between_two_jobs_are_refused(service: Service) -> None:
    a = with_predictions(service, "a", {"test": wrong_on(0)})
    b = with_predictions(service, "b", {"test": wrong_on(1)})
    set_data(service, b, "0" * 64)
    assert refusal(service, a, b) == (
        f"{a} and {b} were not measured on the same test images: digits has changed between them"
    )


def test_the_sentence_names_a_path_that_is_not_the_usual_one(service: Service) -> None:
    arrays = {**wrong_on(0), "logits_expert_0": wrong_on(1, 2)["logits_fused"]}
    a, b = (with_predictions(service, name, {"test": arrays}) for name in "ab")
    sentence = compare(service, f"{a}:expert_0", f"{b}:expert_0")["sentence"]
    assert sentence.startswith("a (expert_0) and b (expert_0) are equally accurate")
