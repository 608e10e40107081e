"""A loaded dataset.

N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


class DatasetMissingError(ValueError):
    """A known dataset is not available; the message says where to put it."""


@dataclass(frozen=True)
class DataShape:
    """What a model must fit: image channels, pixels per side, and number of classes."""

    channels: int
    image_size: int
    num_classes: int


@dataclass(frozen=True)
class Images:
    """Labelled images: a uint8 array (N, C, H, W), in memory or memory-mapped, or a function that reads one image."""

    labels: np.ndarray
    array: np.ndarray | None = None
    read: Callable[[int], np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> np.ndarray:
        """One image (C, H, W)."""
        if self.array is not None:
            return np.asarray(self.array[index])
        assert self.read is not None
        return self.read(index)


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset without its images. `natural_rgb`: colour photographs, which may be mirrored and colour-jittered."""

    name: str
    class_names: tuple[str, ...]
    channels: int
    image_size: int
    natural_rgb: bool
    num_train: int
    num_test: int


@dataclass(frozen=True)
class Dataset:
    """A dataset with a test set; `mean` and `std` are per channel, of training pixels scaled to [0, 1]."""

    name: str
    train: Images
    test: Images
    class_names: tuple[str, ...]
    channels: int
    image_size: int
    natural_rgb: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def info(self) -> DatasetInfo:
        """The description of this dataset."""
        return DatasetInfo(
            self.name,
            self.class_names,
            self.channels,
            self.image_size,
            self.natural_rgb,
            len(self.train),
            len(self.test),
        )


@dataclass(frozen=True)
class DatasetRequest:
    """Arguments of `load` and `describe`.

    `path` is below one of the `data_roots` (None for named datasets), `image_size` applies to image folders, `download`
    allows to fetch a missing dataset.
    """

    name: str
    path: Path | None
    image_size: int | None
    data_roots: tuple[Path, ...]
    download: bool


TEST_FRACTION = 0.2


def hold_out_test(num_images: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Indices for training and for the test of a dataset without a test set: a fifth, the same at every call.

    Raises ValueError that names `path` for too few images.
    """
    order = np.random.default_rng(0).permutation(num_images)
    num_test = round(num_images * TEST_FRACTION)
    if num_test < 1:
        raise ValueError(f"{path}: {num_images} images are too few to hold out a fifth for the test")
    return order[:-num_test], order[-num_test:]


_STATISTICS_SAMPLE = 2_000


def pixel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of pixels scaled to [0, 1].

    Over all images in memory; of images that are read one by one, over 2,000 that a fixed seed selects.
    """
    indices = np.arange(len(images))
    if images.array is None and len(images) > _STATISTICS_SAMPLE:
        indices = np.sort(np.random.default_rng(0).choice(len(images), _STATISTICS_SAMPLE, replace=False))
    count = 0
    total: np.ndarray | float = 0.0
    squares: np.ndarray | float = 0.0
    for block in np.array_split(indices, max(1, len(indices) // 1_000)):
        if images.array is not None:
            pixels = np.asarray(images.array[block[0] : block[-1] + 1])
        else:
            pixels = np.stack([images.image(index) for index in block])
        # Integer sums are exact, so that the statistics depend neither on the order nor on the blocks.
        pixels = pixels.astype(np.int64)
        total = total + pixels.sum(axis=(0, 2, 3))
        squares = squares + (pixels**2).sum(axis=(0, 2, 3))
        count += pixels.shape[0] * pixels.shape[2] * pixels.shape[3]
    mean = np.asarray(total) / count / 255.0
    variance = np.asarray(squares) / count / 255.0**2 - mean**2
    std = np.sqrt(np.maximum(variance, 0.0))
    # A constant channel is not scaled.
    std[std < 1e-6] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())
