from __future__ import annotations

import numpy as np
import pytest

from core.data.dataset import Dataset, Images
from core.data.overlap import num_test_images_in_training


def images(array: np.ndarray) -> Images:
    return Images(np.zeros(len(array), dtype=np.int64), array)


def dataset(train: Images, test: Images) -> Dataset:
    return Dataset("npz:a.npz", train, test, ("a", "b"), 1, 12, False, (0.0,), (1.0,))


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (20, 1, 12, 12), dtype=np.uint8)


def test_test_images_that_are_training_images_are_counted(pixels: np.ndarray) -> None:
    test = np.concatenate([pixels[[4, 4, 9]], pixels[15:]])
    assert num_test_images_in_training(dataset(images(pixels[:10]), images(test))) == 3
    assert num_test_images_in_training(dataset(images(pixels[:10]), images(pixels[10:]))) == 0


def test_images_that_differ_in_one_pixel_are_others(pixels: np.ndarray) -> None:
    # Whichever bytes are compared first, most of these agree in them.
    test = np.repeat(pixels[:1], 144, axis=0)
    test.reshape(144, 144)[np.arange(144), np.arange(144)] ^= 1
    assert num_test_images_in_training(dataset(images(pixels), images(test))) == 0


def test_images_that_are_read_one_by_one_are_not_compared(pixels: np.ndarray) -> None:
    lazy = Images(np.zeros(20, dtype=np.int64), None, lambda index: pixels[index])
    assert num_test_images_in_training(dataset(lazy, images(pixels))) is None
