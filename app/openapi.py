"""What the OpenAPI description says beyond the routes' own types."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from core.spec import JobSpec

EXAMPLES: dict[str, dict[str, Any]] = {
    "expert": {
        "summary": "One expert on its shard of the digits",
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
        "summary": "Four new experts, fused by multiplication",
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


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema without references, so that it can stand inside an operation."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return {
            key: _inlined(value, definitions) for key, value in schema.items() if key not in ("$defs", "discriminator")
        }
    return [_inlined(item, definitions) for item in schema] if isinstance(schema, list) else schema


def _job_schema() -> Any:
    schema = TypeAdapter(JobSpec).json_schema()
    return _inlined(schema, schema.get("$defs", {}))


JOB_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _job_schema(), "examples": EXAMPLES}},
    }
}
