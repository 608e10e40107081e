"""What the OpenAPI description says beyond the routes' own types."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from app.sweeps.schemas import NewSweep
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


SWEEP_EXAMPLES: dict[str, dict[str, Any]] = {
    "grid": {
        "summary": "Three fusion types by two weights of the experts' losses, over three seeds",
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
        "summary": "Expert architectures and rates, of which only the best third goes on after 3 and 9 epochs",
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


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema without references, so that it can stand inside an operation."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return {
            key: _inlined(value, definitions) for key, value in schema.items() if key not in ("$defs", "discriminator")
        }
    return [_inlined(item, definitions) for item in schema] if isinstance(schema, list) else schema


def _body(model: Any, examples: dict[str, Any]) -> dict[str, Any]:
    """A request's body, of what a route reads by itself."""
    schema = TypeAdapter(model).json_schema()
    content = {"schema": _inlined(schema, schema.get("$defs", {})), "examples": examples}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


JOB_BODY = _body(JobSpec, EXAMPLES)
SWEEP_BODY = _body(NewSweep, SWEEP_EXAMPLES)

# Of each event, as the framework describes streams of its own.
EVENT_STREAM: dict[str, Any] = {
    "text/event-stream": {
        "itemSchema": {
            "type": "object",
            "required": ["id", "event", "data"],
            "properties": {
                "id": {"type": "string"},
                "event": {"type": "string"},
                "data": {"type": "string", "contentMediaType": "application/json"},
            },
        }
    }
}
