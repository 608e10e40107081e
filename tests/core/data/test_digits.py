from __future__ import annotations

import numpy as np
import pytest

from core.data import describe_dataset, load_dataset
from core.spec import DatasetSpec


def test_digits_are_scikit_learns_and_their_test_part_is_fixed() -> None:
    from sklearn.datasets import load_digits

    digits = load_dataset(DatasetSpec(), [])
    pixels, labels = load_digits(return_X_y=True)
    assert (len(digits.train), len(digits.test), digits.channels, digits.image_size) == (1437, 360, 1, 8)
    assert digits.train.array is not None
    assert digits.test.array is not None
    ours = np.concatenate([digits.train.array, digits.test.array]).reshape(1797, 64)
    order = np.random.default_rng(0).permutation(1797)
    assert np.array_equal(ours, np.rint(pixels[order] * 255 / 16))
    assert np.array_equal(np.concatenate([digits.train.labels, digits.test.labels]), labels[order])
    scaled = digits.train.array / 255.0
    assert digits.mean[0] == pytest.approx(scaled.mean())
    assert digits.std[0] == pytest.approx(scaled.std())
    assert describe_dataset(DatasetSpec(), []) == digits.info()
