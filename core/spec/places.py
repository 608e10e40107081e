"""Where data sets may lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def find_path(path: str, data_roots: Sequence[Path]) -> Path:
    """A path under one of the data roots, links followed; raises ValueError for any other.

    A relative path is looked up under each root in turn.
    """
    roots = [root.resolve() for root in data_roots]
    allowed = ", ".join(str(root) for root in roots) or "none"
    for root in roots:
        try:
            found = (root / path).resolve()
            if found.is_relative_to(root) and found.exists():
                return found
        except (OSError, RuntimeError, ValueError):
            continue
    raise ValueError(f"there is no data at {path} under the data roots ({allowed})")
