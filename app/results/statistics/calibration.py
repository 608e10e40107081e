"""Calibration: whether a model is right as often as it is confident."""

from __future__ import annotations

import numpy as np

ECE_BINS = 15


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """The mean gap between confidence and accuracy over 15 bins of equal width (arXiv:1706.04599, eq. 3).

    Bins are open below and closed above, as those of `test/ece`.
    """
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    gaps = np.bincount(bins, confidence - correct, ECE_BINS)
    return float(np.abs(gaps).sum() / len(confidence))
