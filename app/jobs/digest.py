"""The digest that identifies jobs with equal results, so that a sweep can reuse a job that exists already."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from core.spec.result_neutral_fields import result_fields


def digest(spec: dict[str, Any]) -> str:
    """SHA-256 (hex) of everything in a resolved specification (plain JSON data) that determines the result.

    Components of other jobs are identified by their reference: job and name, or component id.
    """
    canonical = json.dumps(result_fields(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
