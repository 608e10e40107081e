"""One table says which metrics are better when they are lower; the summary and the leaderboard both follow it."""

from __future__ import annotations

import numpy as np
import pytest

from app.db import transaction
from app.results.metrics import store
from app.results.metrics.directions import direction, known_direction
from app.sweeps import ranking
from tests.app.api import Service

LOWER = [
    "train/loss_total",
    "val/loss_global",
    "val/average_loss",
    "val/collusion",
    "test/nll",
    "test/ece",
    "test/disagreement",
    "test/nll_ensemble",
]
HIGHER = [
    "val/accuracy_fused",
    "test/contribution_expert_0",
    "test/accuracy_expert_0_before",
    "test/accuracy_oracle",
    "throughput/images_per_s",
]


@pytest.mark.parametrize("metric", [*LOWER, *HIGHER])
def test_the_best_step_and_the_leaderboard_agree_on_the_direction(service: Service, metric: str) -> None:
    expected = "min" if metric in LOWER else "max"
    job_id = service.submit()
    steps = np.arange(3, dtype=np.int64)
    with transaction(service.app.state.engine) as session:
        values = np.array([0.5, 0.1, 0.9])
        store.append(session, job_id, {metric: store.Block(steps, values, steps.astype(float))})
    latest = service.get(f"/jobs/{job_id}/metrics").json()["latest"][metric]
    assert direction(metric) == expected
    assert latest["best_step"] == (1 if expected == "min" else 2)
    assert ranking.choose("fusion", metric) == (metric, expected)


@pytest.mark.parametrize(
    "metric",
    [
        "lr/experts",
        "grad_norm/head",
        "system/gpu_util",
        "clipped/fusion",
        "test/disagreement",
        "train/ambiguity",
        "val/ambiguity",
    ],
)
def test_no_value_of_a_metric_is_called_better_where_neither_is(metric: str) -> None:
    assert known_direction(metric) is None


def test_collusion_is_better_when_it_is_lower() -> None:
    assert known_direction("val/collusion") == "min"
