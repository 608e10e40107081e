"""Example job specifications for the OpenAPI description."""

from __future__ import annotations

from typing import Any

from app.http.openapi import request_body
from core.spec import JobSpec

EXAMPLES: dict[str, dict[str, Any]] = {
    "expert": {
        "summary": "One expert on its own shard of the digits",
        "value": {
            "kind": "expert",
            "name": "digits expert 0",
            "tags": ["demo"],
            "expert": {"arch": "convnet_small", "shard": 0},
            "dataset": {"name": "digits", "split": {"regime": "class_shards", "num_shards": 4, "holdout": 0.4}},
            "training": {"epochs": 20},
        },
    },
    "fusion": {
        "summary": "Four new experts with multiplicative fusion",
        "value": {
            "kind": "fusion",
            "experts": [{"arch": "resnet18"}],
            "num_experts": 4,
            "fusion": {"type": "multiplicative"},
            "dataset": {"name": "cifar100"},
            "training": {"epochs": 100, "batch_size": 128, "loss": {"lambda_individual": 1.0}},
        },
    },
}

JOB_BODY = request_body(JobSpec, EXAMPLES)
