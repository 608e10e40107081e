"""Points for the metrics store."""

from __future__ import annotations

import numpy as np

from app.results.metrics.blocks import Block


def block(steps: range | list[int], values: list[float] | None = None) -> Block:
    """Points at these steps, whose times in seconds equal the steps; without values, a slow sine."""
    numbers = np.array(list(steps), dtype=np.int64)
    array = np.sin(numbers / 50.0) if values is None else np.array(values, dtype=float)
    return Block(numbers, array, numbers.astype(float))
