"""What multiple-choice losses are for: where images are ambiguous, some expert is right more often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits

from tests.core.jobs import run

SEEDS = (1, 2, 3, 4, 5)
TYPES = ("sum", "mean", "wta", "annealed")


def job(kind: str, seed: int) -> dict[str, Any]:
    """Three untrained experts, which see all training images."""
    return {
        "kind": "fusion",
        "experts": [{"arch": "convnet_small", "feature_dim": 16}],
        "num_experts": 3,
        "dataset": {"name": "npz:upper_halves.npz", "split": {"regime": "full", "seed": seed}},
        "training": {
            "epochs": 5,
            "batch_size": 32,
            "seed": seed,
            "precision": "float32",
            "augmentation": "none",
            "loss": {"individual": {"type": kind}, "distillation_weight": 0},
            "components": {
                "experts": {"lr": 0.005, "accumulation_steps": 1},
                "fusion": {"lr": 0.005},
                "head": {"lr": 0.005},
            },
        },
        "resources": {"cpus": 1},
    }


@pytest.mark.slow
def test_the_oracle_of_multiple_choice_losses_beats_that_of_sum_and_mean(tmp_path: Path) -> None:
    """On the upper halves of the digits, which often fit several classes; intervals are paired over seeds."""
    digits = load_digits()
    images = digits.images.astype(np.uint8) * 15
    images[:, 4:] = 0
    np.savez(tmp_path / "upper_halves.npz", images=images, labels=digits.target)
    accuracies = {kind: np.zeros(len(SEEDS)) for kind in TYPES}
    for row, seed in enumerate(SEEDS):
        for kind in TYPES:
            result = run(job(kind, seed), tmp_path / f"{kind}-{seed}", data_roots=[tmp_path])
            accuracies[kind][row] = result.metrics["test/accuracy_oracle"]
    for kind in TYPES:
        print(f"oracle accuracy of {kind}, seeds {SEEDS}: {accuracies[kind].round(3).tolist()}")
    for kind in ("wta", "annealed"):
        for other in ("sum", "mean"):
            paired = stats.ttest_rel(accuracies[kind], accuracies[other])
            low, high = paired.confidence_interval(0.95)
            gain = (accuracies[kind] - accuracies[other]).mean()
            print(f"{kind} minus {other}: {gain:+.3f}, 95% interval {low:+.3f} to {high:+.3f}, p {paired.pvalue:.4f}")
            assert gain > 0
            # By the mean, experts learn more slowly than by the sum, and differ more from seed to seed.
            assert low > 0 or other == "mean"
