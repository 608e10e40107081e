"""Where models agree: pairs, the oracle, classes.

M models, N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Discordance(NamedTuple):
    """The images that only one of two models classifies correctly: a alone, b alone."""

    only_a: int
    only_b: int


def discordance(correct_a: np.ndarray, correct_b: np.ndarray) -> Discordance:
    """From whether each model is right on the same images."""
    return Discordance(int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum()))


def disagreement_matrix(predicted: Sequence[np.ndarray]) -> np.ndarray:
    """The fraction of images (M, M) for which two models predict different classes."""
    rows = np.stack(predicted)
    return np.array([(rows != row).mean(axis=1) for row in rows])


def mean_disagreement(predicted: Sequence[np.ndarray]) -> float:
    """The mean of that fraction over pairs of different models."""
    count = len(predicted)
    return float(disagreement_matrix(predicted).sum() / (count * (count - 1)))


def oracle_accuracy(correct: Sequence[np.ndarray]) -> float:
    """The fraction of images that at least one model classifies correctly."""
    return float(np.stack(correct).any(axis=0).mean())


def accuracy_by_class(correct: np.ndarray, labels: np.ndarray, num_classes: int) -> list[float | None]:
    """The accuracy on the images of each class; None for a class without images."""
    images = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels, correct, num_classes)
    return [float(hits / count) if count else None for hits, count in zip(right, images, strict=True)]
