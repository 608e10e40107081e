"""Ensembles of experts, from their logits.

N images, C classes, C_k classes of expert k.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from app.results.statistics.scores import log_softmax


def widen(values: np.ndarray, classes: np.ndarray | None, num_classes: int) -> np.ndarray:
    """Logits (N, C_k) over all classes (N, C), -inf for those that they do not stand for."""
    if classes is None:
        return values
    wide = np.full((len(values), num_classes), -np.inf, dtype=values.dtype)
    wide[:, classes] = values
    return wide


def mean_logits(experts: Iterable[np.ndarray]) -> np.ndarray:
    """The mean of the experts' logits, each (N, C)."""
    total, count = _sum(logits.astype(np.float64) for logits in experts)
    return total / count


def product_of_probabilities(experts: Iterable[np.ndarray]) -> np.ndarray:
    """The logarithm of the product of the experts' probabilities (N, C), up to a constant for each image."""
    return _sum(log_softmax(logits) for logits in experts)[0]


def mean_probabilities(experts: Iterable[np.ndarray]) -> np.ndarray:
    """The logarithm of the mean of the experts' probabilities (N, C), from logits over all classes, each (N, C)."""
    total, count = _sum(np.exp(log_softmax(logits)) for logits in experts)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(total / count))


def _sum(terms: Iterable[np.ndarray]) -> tuple[np.ndarray, int]:
    """The sum of arrays, of which two are in memory at a time, and how many they are."""
    iterator = iter(terms)
    total, count = next(iterator), 1
    for term in iterator:
        total += term
        count += 1
    return total, count
