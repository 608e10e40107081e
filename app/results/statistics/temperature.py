"""Temperature scaling: one number that divides all logits, fitted on validation images (arXiv:1706.04599, sec. 4.2)."""

from __future__ import annotations

import math

import numpy as np

from app.results.statistics.scores import label_positions

# Fewer validation images say too little about how confident a model should be.
MIN_IMAGES = 500
LOWEST, HIGHEST = 0.01, 100.0
_RELATIVE_TOLERANCE = 1e-9
# Logits that are computed in float64 at once: few enough for the processor's cache.
_BLOCK_LOGITS = 1 << 17


def fit_temperature(logits: np.ndarray, labels: np.ndarray, classes: np.ndarray | None = None) -> float:
    """The temperature between 0.01 and 100 with the smallest negative log-likelihood of the labels (N,).

    Raises ValueError where it is not between them, for fewer than 500 images, for a label that the logits (N, C_k) do
    not stand for, and for logits that are not finite (-inf, a probability of 0, is fine).
    """
    if len(labels) < MIN_IMAGES:
        raise ValueError(f"{len(labels):,} validation images are too few to fit a temperature: it takes {MIN_IMAGES}")
    positions = label_positions(labels, logits.shape[1], classes)
    if (positions < 0).any() or np.isneginf(logits[np.arange(len(labels)), positions]).any():
        raise ValueError("a temperature cannot be fitted: some validation images are of classes without a logit")
    if np.isnan(logits).any() or np.isposinf(logits).any():
        raise ValueError("a temperature cannot be fitted: some outputs on validation images are not finite")
    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    if _derivatives(logits, positions, high)[0] <= 0.0:
        if (logits.argmax(axis=1) == positions).all():
            raise ValueError("every validation image is classified correctly, so that no temperature can be fitted")
        raise ValueError(f"the temperature that fits the validation images best is below {LOWEST:g}")
    if _derivatives(logits, positions, low)[0] >= 0.0:
        raise ValueError(
            f"the temperature that fits the validation images best is above {HIGHEST:g}: the outputs say nothing about "
            "their classes"
        )
    return 1.0 / _minimum(logits, positions, low, high)


def _minimum(logits: np.ndarray, positions: np.ndarray, low: float, high: float) -> float:
    """The inverse temperature between two with derivatives of opposite signs where the derivative is 0.

    The likelihood is convex in 1 / T. Newton's method takes few passes over the logits; where a step would leave the
    interval, or does not halve the one before, the interval is halved instead, on a logarithmic scale.
    """
    inverse, last_step = 1.0, math.inf
    while True:
        slope, curvature = _derivatives(logits, positions, inverse)
        low, high = (inverse, high) if slope < 0.0 else (low, inverse)
        following = inverse - slope / curvature if curvature > 0.0 else math.inf
        if not low <= following <= high or abs(following - inverse) > last_step / 2:
            following = math.sqrt(low * high)
        last_step = abs(following - inverse)
        inverse = following
        if last_step <= _RELATIVE_TOLERANCE * inverse:
            return inverse


def _derivatives(logits: np.ndarray, positions: np.ndarray, inverse: float) -> tuple[float, float]:
    """The first two derivatives of the negative log-likelihood by 1 / T: means of E[z] - z at the label, and Var[z]."""
    slope = curvature = 0.0
    num_rows = max(1, _BLOCK_LOGITS // logits.shape[1])
    for start in range(0, len(logits), num_rows):
        rows = slice(start, start + num_rows)
        values = logits[rows].astype(np.float64)
        values -= values.max(axis=1, keepdims=True)
        probs = np.exp(inverse * values)
        # A class of probability 0 adds nothing to the expectation, although its logit is -inf.
        values[np.isneginf(values)] = 0.0
        total = probs.sum(axis=1)
        probs *= values
        mean = probs.sum(axis=1) / total
        slope += float((mean - values[np.arange(len(values)), positions[rows]]).sum())
        curvature += float((np.einsum("ij,ij->i", probs, values) / total - mean**2).sum())
    return slope / len(logits), curvature / len(logits)
