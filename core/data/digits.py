"""1,797 real handwritten digits of 8x8 pixels, which come with scikit-learn and need no network."""

from __future__ import annotations

import numpy as np

from core.data.dataset import Dataset, DatasetInfo, Images, Request, pixel_statistics

NUM_IMAGES = 1797
NUM_TEST = 360
CLASSES = tuple(str(digit) for digit in range(10))


def describe(request: Request) -> DatasetInfo:
    """What is known without reading a pixel."""
    return DatasetInfo("digits", CLASSES, 1, 8, False, NUM_IMAGES - NUM_TEST, NUM_TEST)


def load(request: Request) -> Dataset:
    """Grey levels 0..16 as 0..255. The last 360 of a fixed permutation (seed 0) are the test part, for ever."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 1, 8, 8) * (255.0 / 16.0)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(NUM_IMAGES)
    train, test = order[:-NUM_TEST], order[-NUM_TEST:]
    part = Images(labels[train].astype(np.int64), images[train])
    return Dataset(
        "digits",
        part,
        Images(labels[test].astype(np.int64), images[test]),
        CLASSES,
        1,
        8,
        False,
        *pixel_statistics(part),
    )
