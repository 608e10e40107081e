"""A task whose answer is in the product of two experts alone: the report finds that fusion pays, and not by chance.

Each image has two patches in opposite corners, bright or dark. The label is whether exactly one of them is bright. No
unit of a small network sees both corners, so its logits are a sum of what the corners say, and no such sum is better
than chance. The product of two such sums is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.app.api import EXPERT, FUSION, Service
from tests.app.results.predictions.trained import run_dir_of, succeed
from tests.app.results.report.test_report import add_control, report
from tests.core.jobs import run

pytestmark = pytest.mark.slow

NUM_IMAGES, EPOCHS, SEED = 1_500, 8, 3
NETWORK = {"arch": "convnet_small", "feature_dim": 16}
TRAINING = {"epochs": EPOCHS, "batch_size": 64, "augmentation": "none"}
# Without an MLP and without a loss of their own, nothing but the product can tell.
LOSS = {"lambda_individual": 0.0, "distillation_weight": 0.0, "label_smoothing": 0.0}
RATES = {"experts": {"lr": 3e-3, "accumulation_steps": 1}, "fusion": {"lr": 3e-3}, "head": {"lr": 3e-3}}


def write_task(file: Path, *, shuffled: bool) -> None:
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 2, (2, NUM_IMAGES))
    images = rng.normal(96.0, 24.0, (NUM_IMAGES, 16, 16))
    images[:, 1:6, 1:6] += 70.0 * first[:, None, None]
    images[:, 10:15, 10:15] += 70.0 * second[:, None, None]
    labels = first ^ second
    np.savez(file, images=images.clip(0, 255).astype(np.uint8), labels=rng.permutation(labels) if shuffled else labels)


def trained(service: Service, spec: dict[str, Any], **fields: Any) -> str:
    job_id = service.submit(spec)
    shared = {"dataset": {"name": "npz:planted.npz"}, "resources": {"cpus": 1}}
    run({"kind": spec["kind"], **shared, **fields}, run_dir_of(service, job_id), data_roots=service.settings.roots)
    succeed(service, job_id)
    return job_id


def report_with_controls(service: Service, *, shuffled: bool) -> dict[str, Any]:
    """The report of a fusion of two small networks, beside single ones of two seeds and their ensemble."""
    write_task(service.settings.roots[0] / "planted.npz", shuffled=shuffled)
    fusion = trained(
        service,
        FUSION,
        experts=[NETWORK],
        num_experts=2,
        fusion={"type": "multiplicative", "mlp": False},
        training=TRAINING | {"seed": SEED, "loss": LOSS, "components": RATES},
    )
    for k in range(2):
        single = trained(service, EXPERT, expert=NETWORK, training=TRAINING | {"seed": SEED + k})
        add_control(service, fusion, f"single_{k}", single, position=k)
    return report(service, fusion)


@pytest.mark.parametrize("shuffled", [False, True])
def test_fusion_beats_every_control_where_only_the_product_tells(service: Service, shuffled: bool) -> None:
    content = report_with_controls(service, shuffled=shuffled)
    controls = {row["role"]: row["fused_minus"] for row in content["controls"]}
    print(content["verdict"])
    assert set(controls) == {"best_expert", "ensemble_probabilities", "ensemble_product", "single_0", "deep_ensemble"}
    if shuffled:
        # A model that learns nothing answers with one class, whose share among the test images is not exactly half.
        assert not all(difference["p"] < 0.01 for difference in controls.values())
        assert "not distinguishable" in content["verdict"]
    else:
        assert content["figures"][0]["model"]["accuracy"] > 0.95
        assert all(difference["p"] < 0.01 and difference["low"] > 0.3 for difference in controls.values())
        assert content["verdict"].endswith(": distinguishable on 300 images")
