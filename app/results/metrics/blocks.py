"""Blocks of metric points as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Block:
    """Points of one metric in the order of their steps; non-finite values are NaN, times are Unix seconds."""

    steps: np.ndarray
    values: np.ndarray
    times: np.ndarray

    def rows(self, index: slice | np.ndarray) -> Block:
        """The points at a slice, index array or mask."""
        return Block(self.steps[index], self.values[index], self.times[index])

    def joined(self, other: Block) -> Block:
        """These points followed by those of another block."""
        pairs = ((self.steps, other.steps), (self.values, other.values), (self.times, other.times))
        return Block(*(np.concatenate(pair) for pair in pairs))


def extremes_of(values: np.ndarray) -> tuple[float | None, float | None]:
    """The minimum and maximum of the finite values; None if there are none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (None, None)


def mean_of(values: np.ndarray) -> float | None:
    """The mean of the finite values; None if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def finite_or_none(value: float) -> float | None:
    """A number that JSON can represent."""
    return float(value) if np.isfinite(value) else None


def finite_list(values: np.ndarray) -> list[float | None]:
    """An array as JSON can represent it: null for values that are not finite."""
    listed: list[float | None] = values.tolist()
    finite = np.isfinite(values)
    if finite.all():
        return listed
    return [value if is_finite else None for value, is_finite in zip(listed, finite.tolist(), strict=True)]
