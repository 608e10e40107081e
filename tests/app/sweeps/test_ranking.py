"""Leaderboards as CSV."""

from __future__ import annotations

import csv
import io

from app.sweeps import ranking
from app.sweeps.ranking import Score


def test_csv_cells_that_a_spreadsheet_would_evaluate_are_quoted() -> None:
    values = ["=1+1", "+1", "-1", "@x", "plain", -0.5, None, True]
    scores = [Score({"a.b": value, "training.seed": 1}, f"job_{k}", -0.25, False) for k, value in enumerate(values)]
    table = list(csv.reader(io.StringIO(ranking.as_csv(ranking.leaderboard(scores, "max"), ["a.b", "training.seed"]))))
    assert table[0] == ["rank", "a.b", "n", "mean", "std", "best", "stopped_early", "jobs"]
    assert [row[1] for row in table[1:]] == ["'=1+1", "'+1", "'-1", "'@x", "plain", "-0.5", "null", "true"]
    assert table[1] == ["1", "'=1+1", "1", "-0.25", "", "job_0", "false", "job_0"]
