"""Temperature scaling: one number that divides all logits, fitted on validation images (arXiv:1706.04599, sec. 4.2)."""

from __future__ import annotations

import numpy as np

from app.results.statistics.scores import label_positions, log_softmax_blocks

# Fewer validation images say too little about how confident a model should be.
MIN_IMAGES = 500
LOWEST, HIGHEST = 0.01, 100.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray, classes: np.ndarray | None = None) -> float:
    """The temperature between 0.01 and 100 with the smallest negative log-likelihood of the labels (N,).

    The likelihood is concave in 1 / T, so the root of its derivative is the optimum. Raises ValueError for fewer than
    500 images, or a label that the logits (N, C_k) do not stand for.
    """
    from scipy.optimize import brentq

    if len(labels) < MIN_IMAGES:
        raise ValueError(f"{len(labels):,} validation images are too few to fit a temperature: it takes {MIN_IMAGES}")
    positions = label_positions(labels, logits.shape[1], classes)
    if (positions < 0).any() or np.isneginf(logits[np.arange(len(labels)), positions]).any():
        raise ValueError("a temperature cannot be fitted: some validation images are of classes without a logit")

    def derivative(inverse: float) -> float:
        """Of the negative log-likelihood by 1 / T: mean over images of E[z] - z at the label."""
        total = 0.0
        for rows, log_probs in log_softmax_blocks(logits, 1.0 / inverse):
            # A class of probability 0 adds nothing to the expectation, although its logit is -inf.
            values = np.where(np.isfinite(log_probs), logits[rows], 0.0).astype(np.float64)
            at_label = values[np.arange(len(values)), positions[rows]]
            total += float(((np.exp(log_probs) * values).sum(axis=1) - at_label).sum())
        return total / len(labels)

    lowest, highest = 1.0 / HIGHEST, 1.0 / LOWEST
    if derivative(highest) <= 0.0:
        # Every validation image is classified correctly: any confidence would be justified.
        return LOWEST
    if derivative(lowest) >= 0.0:
        return HIGHEST
    return 1.0 / float(brentq(derivative, lowest, highest, xtol=1e-9, rtol=1e-9))
