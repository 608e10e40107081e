"""Which fields of a specification decide the result: one table for reuse, resuming and digests.

A field that is not named here decides the result, so that a new field is never overlooked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Labels, scheduling, safety, tracking and what is kept: the same numbers come out whatever these say.
RESULT_NEUTRAL_FIELDS = ("name", "tags", "priority", "max_attempts", "checkpoint", "tracking", "evaluation", "controls")
# Of `resources`, only the counts that change the order of floating-point sums.
RESULT_RESOURCES = ("cpus", "gpus", "nodes")


def result_fields(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a resolved specification (JSON data) that decide the result bit for bit.

    Two jobs may share a result only if these are equal. `resources` is reduced to cpus, gpus and nodes.
    """
    fields = {key: value for key, value in spec.items() if key not in RESULT_NEUTRAL_FIELDS}
    if "resources" in fields:
        fields["resources"] = {key: fields["resources"][key] for key in RESULT_RESOURCES if key in fields["resources"]}
    return fields


def resume_fields(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that must not change when a run resumes: those that decide the result, without `resources`.

    A run may resume with another number of threads, GPUs or nodes. It then continues the same training, but is not
    bit-comparable to an uninterrupted run: its digest changes, so that no other job reuses its result.
    """
    return {key: value for key, value in result_fields(spec).items() if key != "resources"}
