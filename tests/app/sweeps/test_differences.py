"""Rows of a leaderboard minus the best or a chosen one: over seeds, or on the images of single runs."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from app.sweeps import differences
from core.run.rundir import RunDir
from tests.app.api import Service
from tests.app.results.predictions.trained import logits_of, run_dir_of, set_data, store_predictions, succeed
from tests.app.sweeps.sweeping import TYPES, create, jobs, measure, sweep, view

LABELS = np.arange(400) % 3


def finish(service: Service, job: str, num_errors: int, *, validation: float) -> None:
    """The job succeeds, and errs on the first test images."""
    predicted = np.where(np.arange(400) < num_errors, (LABELS + 1) % 3, LABELS)
    run = RunDir(run_dir_of(service, job))
    run.path.mkdir(parents=True)
    entry = store_predictions(run, "test", {"labels": LABELS, "logits_fused": logits_of(predicted)}, "digits")
    run.result.write_text(json.dumps({"state": "succeeded", "metrics": {}, "predictions": {"test": entry}}))
    succeed(service, job)
    measure(service, job, "test/accuracy_fused", 1 - num_errors / 400)
    measure(service, job, "val/accuracy_fused", validation)


def two_rows_over_seeds(service: Service, first: list[float], second: list[float]) -> tuple[str, list[str]]:
    """A sweep of two fusion types and three seeds with these test accuracies; the first type validates better."""
    sweep_id = create(service)["id"]
    ids = jobs(service, sweep_id)
    for job, value in zip(ids, [*first, *second], strict=True):
        measure(service, job, "test/accuracy_fused", value)
        measure(service, job, "val/accuracy_fused", 0.9 if job in ids[:3] else 0.8)
    return sweep_id, ids


def single_runs(service: Service, *num_errors: int) -> tuple[str, list[str]]:
    """A sweep of single runs with so many errors on test; the first validates best."""
    grid = {"training.loss.lambda_individual": [float(n) for n in range(len(num_errors))]}
    sweep_id = create(service, sweep(grid))["id"]
    ids = jobs(service, sweep_id)
    for n, (job, count) in enumerate(zip(ids, num_errors, strict=True)):
        finish(service, job, count, validation=0.9 - n / 100)
    return sweep_id, ids


def test_rows_with_several_seeds_are_compared_by_the_paired_t_test(service: Service) -> None:
    first, second = [0.90, 0.93, 0.95], [0.88, 0.92, 0.91]
    sweep_id, _ = two_rows_over_seeds(service, first, second)
    best, other = view(service, sweep_id)["leaderboard"]
    assert (best["is_baseline"], best["difference"], best["no_difference"]) == (True, None, None)
    expected = ttest_rel(second, first)
    interval = expected.confidence_interval(0.95)
    assert other["difference"] == {
        "value": pytest.approx(-0.07 / 3),
        "low": pytest.approx(interval.low),
        "high": pytest.approx(interval.high),
        "p": pytest.approx(expected.pvalue),
        "method": "seeds",
        "n": 3,
    }


def test_only_seeds_that_both_rows_have_are_compared(service: Service) -> None:
    sweep_id = create(service)["id"]
    ids = jobs(service, sweep_id)
    for job, value in zip([*ids[:3], ids[4], ids[5]], [0.5, 0.93, 0.95, 0.92, 0.91], strict=True):
        measure(service, job, "test/accuracy_fused", value)
        measure(service, job, "val/accuracy_fused", value)
    rows = {row["values"]["fusion.type"]: row for row in view(service, sweep_id)["leaderboard"]}
    difference = rows[TYPES[0]]["difference"]
    assert (difference["n"], difference["method"]) == (2, "seeds")
    assert difference["value"] == pytest.approx((0.01 + 0.04) / 2)


def test_equal_differences_give_no_interval(service: Service) -> None:
    sweep_id, _ = two_rows_over_seeds(service, [0.9, 0.8, 0.7], [0.8, 0.7, 0.6])
    row = view(service, sweep_id)["leaderboard"][1]
    assert row["difference"] is None
    assert (
        row["no_difference"] == "the difference is -10.00 points with each of 3 seeds, from which no interval follows"
    )


def test_rows_on_other_test_images_are_not_compared(service: Service) -> None:
    sweep_id, ids = two_rows_over_seeds(service, [0.9, 0.93, 0.95], [0.88, 0.92, 0.91])
    for n, job in enumerate(ids):
        set_data(service, job, ("a" if n < 3 else "b") * 64)
    assert view(service, sweep_id)["leaderboard"][1]["no_difference"] == (
        "the two rows were not measured on the same test images"
    )


def test_single_runs_are_compared_on_their_images(service: Service) -> None:
    sweep_id, ids = single_runs(service, 20, 4, 22)
    best, better_on_test, close = view(service, sweep_id)["leaderboard"]
    assert best["best"] == ids[0], "the accuracy on test images must not choose"
    assert best["is_baseline"]
    for row, job in ((better_on_test, ids[1]), (close, ids[2])):
        expected = service.get("/compare", params={"a": job, "b": ids[0]}).json()["difference"]
        same = {name: expected[name] for name in ("value", "low", "high", "p")}
        assert row["difference"] == {**same, "method": "images", "n": 400}
    assert better_on_test["difference"]["value"] == pytest.approx(0.04)


def test_another_row_can_be_the_baseline(service: Service) -> None:
    sweep_id, ids = single_runs(service, 20, 4)
    mirrored = view(service, sweep_id)["leaderboard"][1]["difference"]
    rows = view(service, sweep_id, f"?baseline={ids[1]}")["leaderboard"]
    assert [row["is_baseline"] for row in rows] == [False, True]
    assert rows[0]["difference"] == mirrored | {
        "value": -mirrored["value"], "low": -mirrored["high"], "high": -mirrored["low"],
    }  # fmt: skip
    answer = service.get(f"/sweeps/{sweep_id}?baseline=job_other")
    assert (answer.status_code, "'job_other' is not a job of this sweep" in answer.json()["detail"]) == (422, True)


def test_the_csv_has_the_differences_after_all_other_columns(service: Service) -> None:
    sweep_id, _ = single_runs(service, 20, 4)
    table = list(csv.reader(io.StringIO(service.get(f"/sweeps/{sweep_id}/leaderboard.csv").text)))
    names = ["minus_baseline", "minus_baseline_low", "minus_baseline_high", "minus_baseline_p", "minus_baseline_method"]
    assert table[0][-5:] == names
    assert table[1][-5:] == [""] * 5
    difference = view(service, sweep_id)["leaderboard"][1]["difference"]
    assert table[2][-5:] == [str(difference[name]) for name in ("value", "low", "high", "p", "method")]


def test_what_cannot_be_compared_says_why(service: Service) -> None:
    sweep_id, ids = single_runs(service, 20, 4, 6)
    (run_dir_of(service, ids[1]) / "predictions/test.npz").unlink()
    grid = sweep({"fusion.type": TYPES}, fresh=True)
    unmeasured = create(service, grid)["id"]
    assert [row["no_difference"] for row in view(service, sweep_id)["leaderboard"]] == [
        None,
        f"the predictions of {ids[1]} have been deleted from its run directory",
        None,
    ]
    rows = view(service, unmeasured)["leaderboard"]
    assert [(row["difference"], row["no_difference"]) for row in rows] == [(None, None)] * 2
    measure(service, jobs(service, unmeasured)[0], "val/accuracy_fused", 0.5)
    assert view(service, unmeasured)["leaderboard"][1]["no_difference"] == "no seed of both rows has a test accuracy"


def test_files_are_read_once_and_only_for_the_first_rows(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differences, "MAX_ON_IMAGES", 2)
    sweep_id, _ = single_runs(service, 20, 4, 6, 8)
    monkeypatch.setattr(differences, "MAX_SECONDS", -1.0)
    late = view(service, sweep_id)["leaderboard"]
    assert [row["no_difference"] for row in late[1:3]] == [
        "it has not been computed yet: read the leaderboard again"
    ] * 2
    monkeypatch.setattr(differences, "MAX_SECONDS", 60.0)
    rows = view(service, sweep_id)["leaderboard"]
    assert [row["difference"] is None for row in rows] == [True, False, False, True]
    assert "only the first 2 rows" in rows[3]["no_difference"]

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a file is read again")

    monkeypatch.setattr(np, "load", fail)
    assert view(service, sweep_id)["leaderboard"] == rows
