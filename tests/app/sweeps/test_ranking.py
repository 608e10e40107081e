"""Leaderboards: by which metric, over seeds, and as CSV."""

from __future__ import annotations

import csv
import io

import pytest
from scipy.stats import ttest_1samp

from app.sweeps import ranking
from app.sweeps.ranking import Score


def test_csv_cells_that_a_spreadsheet_would_evaluate_are_quoted() -> None:
    values = ["=1+1", "+1", "-1", "@x", "plain", -0.5, None, True]
    scores = [Score({"a.b": value, "training.seed": 1}, f"job_{k}", -0.25, False) for k, value in enumerate(values)]
    table = list(
        csv.reader(io.StringIO(ranking.as_csv(ranking.leaderboard(scores, "max"), ["a.b", "training.seed"], "=nll")))
    )
    columns = ["n", "mean", "std", "low", "high", "test_accuracy", "best", "stopped_early", "jobs"]
    assert table[0] == ["rank", "a.b", "metric", *columns]
    assert {row[2] for row in table[1:]} == {"'=nll"}
    assert [row[1] for row in table[1:]] == ["'=1+1", "'+1", "'-1", "'@x", "plain", "-0.5", "null", "true"]
    assert table[1] == ["1", "'=1+1", "'=nll", "1", "-0.25", "", "", "", "", "job_0", "false", "job_0"]


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
