"""1,797 real handwritten digits of 8x8 pixels, which are part of scikit-learn and need no network."""

from __future__ import annotations

import gzip

import numpy as np

from core.data.dataset import Dataset, DatasetInfo, DatasetRequest, Images, pixel_statistics
from core.run.data_files import digits_file

NUM_IMAGES = 1797
NUM_TEST = 360
CLASSES = tuple(str(digit) for digit in range(10))


def describe(request: DatasetRequest) -> DatasetInfo:
    """Needs no file."""
    return DatasetInfo("digits", CLASSES, 1, 8, False, NUM_IMAGES - NUM_TEST, NUM_TEST)


def load(request: DatasetRequest) -> Dataset:
    """Grey levels 0 to 16, scaled to 0 to 255. The test set is the last 360 images of a fixed permutation (seed 0)."""
    pixels, labels = _read_table()
    images = np.rint(pixels.reshape(-1, 1, 8, 8) * (255.0 / 16.0)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(NUM_IMAGES)
    train, test = order[:-NUM_TEST], order[-NUM_TEST:]
    training_set = Images(labels[train].astype(np.int64), images[train])
    return Dataset(
        "digits",
        training_set,
        Images(labels[test].astype(np.int64), images[test]),
        CLASSES,
        1,
        8,
        False,
        *pixel_statistics(training_set),
    )


def _read_table() -> tuple[np.ndarray, np.ndarray]:
    with gzip.open(digits_file(), "rt") as file:
        rows = np.loadtxt(file, delimiter=",")
    return rows[:, :-1], rows[:, -1].astype(np.int64)
