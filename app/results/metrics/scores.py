"""The accuracy that ranks jobs: of the fused path, or of the expert in a job that trains one."""

from __future__ import annotations

from typing import Literal


def accuracy_key(kind: object, part: Literal["test", "val"] = "val") -> str:
    """The metric that compares jobs of a kind. The maximum of the one on validation images is `Job.score`."""
    return f"{part}/accuracy_{'expert_0' if kind == 'expert' else 'fused'}"
