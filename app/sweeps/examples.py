"""Example sweeps for the OpenAPI description."""

from __future__ import annotations

from typing import Any

from app.http.openapi import request_body
from app.sweeps.schemas import NewSweep

EXAMPLES: dict[str, dict[str, Any]] = {
    "grid": {
        "summary": "Three fusion types and two weights of the individual loss, each with three seeds",
        "value": {
            "name": "digits lambda",
            "base": {
                "kind": "fusion",
                "experts": [{"arch": "convnet_small"}],
                "num_experts": 4,
                "dataset": {"name": "digits"},
                "training": {"epochs": 10},
            },
            "grid": {
                "fusion.type": ["multiplicative", "concatenation", "simpleAddition"],
                "training.loss.lambda_individual": [0.5, 1.0],
                "training.seed": [1, 2, 3],
            },
            "max_parallel": 4,
        },
    },
    "early_stopping": {
        "summary": "Expert architectures and learning rates; only the best third continues after 3 and 9 epochs",
        "value": {
            "name": "cifar100 experts",
            "base": {"kind": "expert", "dataset": {"name": "cifar100"}, "training": {"epochs": 27}},
            "grid": {
                "expert": [{"arch": "resnet18"}, {"arch": "wideresnet28_10"}],
                "training.components.experts.lr": [0.3, 0.1, 0.03],
            },
            "early_stopping": {"metric": "val/accuracy_expert_0", "min_epochs": 3, "reduction_factor": 3},
        },
    },
}

SWEEP_BODY = request_body(NewSweep, EXAMPLES)
