"""Quantiles of measured times."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def quantile(values: Sequence[float], q: float) -> float:
    """A quantile with interpolation."""
    return statistics.quantiles(values, n=100, method="inclusive")[round(100 * q) - 1] if len(values) > 1 else values[0]
