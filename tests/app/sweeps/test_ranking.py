"""Leaderboards: by which metric, over seeds, and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from scipy.stats import ttest_1samp

from app.sweeps import ranking
from app.sweeps.ranking import Score
from tests.app.api import EXPERT, Service
from tests.app.sweeps.sweeping import (
    TYPES,
    create,
    jobs,
    measure,
    points,
    sweep,
    view,
)


def test_csv_cells_that_a_spreadsheet_would_evaluate_are_quoted() -> None:
    values = ["=1+1", "+1", "-1", "@x", "plain", -0.5, None, True]
    scores = [Score({"a.b": value, "training.seed": 1}, f"job_{k}", -0.25, False) for k, value in enumerate(values)]
    table = list(
        csv.reader(io.StringIO(ranking.as_csv(ranking.leaderboard(scores, "max"), ["a.b", "training.seed"], "=nll")))
    )
    columns = ["n", "mean", "std", "low", "high", "test_accuracy", "best", "stopped_early", "jobs"]
    assert table[0][:12] == ["rank", "a.b", "metric", *columns]
    assert {row[2] for row in table[1:]} == {"'=nll"}
    assert [row[1] for row in table[1:]] == ["'=1+1", "'+1", "'-1", "'@x", "plain", "-0.5", "null", "true"]
    assert table[1][:12] == ["1", "'=1+1", "'=nll", "1", "-0.25", "", "", "", "", "job_0", "false", "job_0"]


@pytest.mark.parametrize(
    ("kind", "metric"),
    [
        ("fusion", "val/accuracy_fused"),
        ("head", "val/accuracy_fused"),
        ("expert", "val/accuracy_expert_0"),
        ("evaluate", "test/accuracy_fused"),
    ],
)
def test_validation_ranks_unless_there_is_only_a_test(kind: str, metric: str) -> None:
    assert ranking.choose(kind) == (metric, "max")
    assert ranking.choose(kind, part="test")[0].startswith("test/")


def test_a_mean_over_seeds_has_the_interval_of_students_t() -> None:
    values = [0.5, 0.6, 0.8]
    scores = [Score({"training.seed": n}, f"job_{n}", value, False, value / 2) for n, value in enumerate(values)]
    [row] = ranking.leaderboard([*scores, Score({"training.seed": 9}, "job_9", None, False)], "max")
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert row.test_accuracy == pytest.approx(row.mean / 2 if row.mean else None)
    [alone] = ranking.leaderboard(scores[:1], "max")
    assert (alone.low, alone.high) == (None, None)


def test_the_leaderboard_groups_seeds_and_puts_the_best_first(service: Service) -> None:
    grid = {"fusion.type": ["multiplicative", "concatenation", "simpleAddition"], "training.seed": [1, 2]}
    grid |= {"dataset.split.seed": [7, 8]}
    sweep_id = create(service, sweep(grid))["id"]
    ids = jobs(service, sweep_id)
    # Mean 0.5; the sample's deviation is sqrt((0.09 + 0.01 + 0.01 + 0.09) / 3).
    for job_id, value in zip(ids[:4], [0.2, 0.4, 0.6, 0.8], strict=True):
        measure(service, job_id, "val/accuracy_fused", value)
    measure(service, ids[9], "val/accuracy_fused", 0.7)
    measure(service, ids[9], "test/accuracy_fused", 0.65)
    rows = view(service, sweep_id)["leaderboard"]
    assert [row["values"]["fusion.type"] for row in rows] == ["simpleAddition", "multiplicative", "concatenation"]
    assert [list(row["values"]) for row in rows] == [["fusion.type"]] * 3
    assert rows[0] | {"jobs": None} == {
        "values": {"fusion.type": "simpleAddition"}, "n": 1, "mean": 0.7, "std": None, "best": ids[9], "jobs": None,
        "stopped_early": False, "low": None, "high": None, "test_accuracy": 0.65,
        "is_baseline": True, "difference": None, "no_difference": None,
    }  # fmt: skip
    assert (rows[1]["n"], rows[1]["best"], rows[1]["jobs"]) == (4, ids[3], ids[:4])
    assert rows[1]["mean"] == pytest.approx(0.5)
    assert rows[1]["std"] == pytest.approx((0.2 / 3) ** 0.5)
    # Student's t with three degrees of freedom.
    half = 3.182446 * (0.2 / 3) ** 0.5 / 2
    assert (rows[1]["low"], rows[1]["high"]) == pytest.approx((0.5 - half, 0.5 + half))
    assert rows[1]["test_accuracy"] is None
    assert (rows[2]["n"], rows[2]["mean"], rows[2]["std"], rows[2]["best"]) == (0, None, None, None)
    table = list(csv.reader(io.StringIO(service.get(f"/sweeps/{sweep_id}/leaderboard.csv").text)))
    assert table[0][:7] == ["rank", "fusion.type", "metric", "n", "mean", "std", "low"]
    assert table[0][7:12] == ["high", "test_accuracy", "best", "stopped_early", "jobs"]
    assert table[1][:5] == ["1", "simpleAddition", "val/accuracy_fused", "1", "0.7"]
    assert table[1][5:12] == ["", "", "", "0.65", ids[9], "false", " ".join(ids[8:12])]
    assert len(table) == 4


@pytest.mark.parametrize(
    ("metric", "mode", "values", "best", "means"),
    [
        # The best value so far counts for validation metrics, the latest for all others.
        ("val/accuracy_fused", None, ([0.1, 0.9, 0.2], [0.5, 0.6, 0.7]), 0, [0.9, 0.7]),
        ("val/loss_global", None, ([0.1, 0.9, 0.2], [0.5, 0.6, 0.7]), 0, [0.1, 0.5]),
        ("val/loss_global", "max", ([0.1, 0.9, 0.2], [0.5, 0.6, 0.7]), 0, [0.9, 0.7]),
        ("test/accuracy_oracle", None, ([0.9, 0.2], [0.5, 0.7]), 1, [0.7, 0.2]),
        ("test/nll", None, ([0.9], [0.5]), 1, [0.5, 0.9]),
        ("test/ece", None, ([0.9], [0.5]), 1, [0.5, 0.9]),
        ("test/disagreement", None, ([0.9], [0.5]), 1, [0.5, 0.9]),
        # Neither higher nor lower is better: the latest counts, lowest or highest first.
        ("val/disagreement", None, ([0.1, 0.9], [0.5, 0.2]), 1, [0.2, 0.9]),
        ("val/ambiguity", None, ([0.1, 0.2], [0.9, 0.5]), 1, [0.5, 0.2]),
        ("val/disagreement", "max", ([0.9, 0.3], [0.5, 0.2]), 0, [0.9, 0.5]),
        ("val/collusion", None, ([0.9, 0.3], [0.1, 0.5]), 1, [0.1, 0.3]),
        ("train/loss_total", None, ([0.9, 0.3], [0.1, 0.5]), 0, [0.3, 0.5]),
        ("test/nll", "max", ([0.9], [0.5]), 0, [0.9, 0.5]),
        ("test/accuracy_oracle", None, ([0.5, float("nan")], [0.1]), 1, [0.1, None]),
        ("test/nll", None, ([0.5, float("nan")], [0.1]), 1, [0.1, None]),
    ],
)
def test_a_leaderboard_is_by_any_metric(
    service: Service, metric: str, mode: str | None, values: Any, best: int, means: list[float | None]
) -> None:
    sweep_id = create(service, sweep({"fusion.type": TYPES}))["id"]
    for job_id, job_values in zip(jobs(service, sweep_id), values, strict=True):
        measure(service, job_id, metric, *job_values)
    answer = view(service, sweep_id, f"?metric={metric}" + (f"&mode={mode}" if mode else ""))
    assert [row["mean"] for row in answer["leaderboard"]] == means
    assert answer["leaderboard"][0]["values"] == {"fusion.type": TYPES[best]}
    assert answer["metric"] == metric
    neutral = mode is None and ("disagreement" in metric or "ambiguity" in metric)
    assert answer["better"] == (None if neutral else answer["mode"])
    assert answer["run_value"] == ("best" if metric.startswith("val/") and not neutral else "last")
    if mode is None:
        by_point = [point["value"] for point in points(service, sweep_id, f"&metric={metric}")]
        assert by_point[best] == means[0]


def test_experts_are_compared_by_their_own_accuracy(service: Service) -> None:
    answer = create(service, {"base": EXPERT, "grid": {"training.seed": [1, 2]}})
    assert (answer["metric"], answer["mode"]) == ("val/accuracy_expert_0", "max")
    assert answer["leaderboard"][0]["values"] == {}
