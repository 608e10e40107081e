"""What logits say about every image: log-likelihood of the label, confidence, predicted class.

N images, C classes of the data set, C_k classes that the logits stand for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# Rows that are computed in float64 at once.
_BLOCK = 4_096


@dataclass(frozen=True)
class Scores:
    """Of N images each: the predicted class, whether it is right, its probability, and ln p(label)."""

    predicted: np.ndarray
    correct: np.ndarray
    confidence: np.ndarray
    log_likelihood: np.ndarray

    @property
    def accuracy(self) -> float:
        """Fraction of images whose predicted class is right."""
        return float(self.correct.mean())

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood, natural logarithm; infinite if a label has probability 0."""
        return float(-self.log_likelihood.mean())


def score(
    logits: np.ndarray, labels: np.ndarray, classes: np.ndarray | None = None, *, temperature: float = 1.0
) -> Scores:
    """Scores of logits (N, C_k) divided by a temperature, at labels (N,).

    `classes` (C_k,) are the classes that the logits stand for (None: 0 to C_k - 1). A label that is not among them has
    probability 0.
    """
    positions = label_positions(labels, logits.shape[1], classes)
    best, confidence, likelihood = [], [], []
    for rows, log_probs in log_softmax_blocks(logits, temperature):
        index = np.arange(len(log_probs))
        best.append(log_probs.argmax(axis=1))
        confidence.append(np.exp(log_probs[index, best[-1]]))
        known = positions[rows]
        likelihood.append(np.where(known >= 0, log_probs[index, known], -np.inf))
    predicted = np.concatenate(best)
    if classes is not None:
        predicted = classes[predicted]
    return Scores(predicted, predicted == labels, np.concatenate(confidence), np.concatenate(likelihood))


def num_not_finite(logits: np.ndarray) -> int:
    """The images with a logit that is NaN or plus infinity; minus infinity is a probability of 0."""
    return int((np.isnan(logits) | np.isposinf(logits)).any(axis=1).sum())


def label_positions(labels: np.ndarray, num_logits: int, classes: np.ndarray | None) -> np.ndarray:
    """The position of every label among the logits, -1 where the logits do not stand for it."""
    if classes is None:
        return np.where(labels < num_logits, labels, -1)
    positions = np.full(int(max(labels.max(), classes.max())) + 1, -1)
    positions[classes] = np.arange(len(classes))
    return np.asarray(positions[labels])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities in float64, over the last axis."""
    shifted: np.ndarray = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def log_softmax_blocks(logits: np.ndarray, temperature: float) -> Iterator[tuple[slice, np.ndarray]]:
    """Log-probabilities of a few thousand images at a time, with their rows: all of them in float64 may be large."""
    for start in range(0, len(logits), _BLOCK):
        rows = slice(start, start + _BLOCK)
        yield rows, log_softmax(logits[rows].astype(np.float64) / temperature)
