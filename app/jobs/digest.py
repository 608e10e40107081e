"""What makes two jobs the same."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# What a job is called, when and how safely it runs, and who is told: none of it changes what comes out.
ASIDE = ("name", "tags", "priority", "resources", "max_attempts", "checkpoint", "tracking")
# The number of threads, GPUs and machines does: sums are taken in another order.
COUNTS = ("cpus", "gpus", "nodes")


def digest(spec: dict[str, Any]) -> str:
    """The SHA-256 of all that decides what comes out of a job, of its specification as resolved (plain JSON data).

    Components that it starts from count by the name they are given: job and component, or id.
    """
    decisive: dict[str, Any] = {key: value for key, value in spec.items() if key not in ASIDE}
    decisive["resources"] = {key: spec["resources"][key] for key in COUNTS}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
