"""The fields of a specification that do not change a job's result: the one list of them."""

from __future__ import annotations

from typing import Any

RESULT_NEUTRAL_FIELDS = ("name", "tags", "priority", "max_attempts", "checkpoint", "tracking")
# The number of threads, GPUs and nodes changes the order of summation, and with it the last bits of the result.
DECISIVE_RESOURCES = ("cpus", "gpus", "nodes")


def decisive_fields(spec: dict[str, Any]) -> dict[str, Any]:
    """The part of a specification (plain JSON data) that determines the result."""
    fields = {name: value for name, value in spec.items() if name not in RESULT_NEUTRAL_FIELDS}
    resources = spec.get("resources") or {}
    fields["resources"] = {name: resources[name] for name in DECISIVE_RESOURCES if name in resources}
    return fields
