"""What a data set is, once loaded.

N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


class DatasetMissingError(ValueError):
    """A data set that is not where it should be; the message says where to put it."""


@dataclass(frozen=True)
class DataShape:
    """The shape of images and labels that a model is built for: channels, pixels per side, classes."""

    channels: int
    image_size: int
    num_classes: int


@dataclass(frozen=True)
class Images:
    """Labelled images: an array (N, C, H, W) of uint8, in memory or mapped, or a way to read one by its index."""

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
    """What a model and a plan need to know. `photographs`: whether these are RGB photographs."""

    name: str
    class_names: tuple[str, ...]
    channels: int
    image_size: int
    natural_rgb: bool
    num_train: int
    num_test: int


@dataclass(frozen=True)
class Dataset:
    """A data set with its own test part; `mean` and `std` by channel of training pixels scaled to [0, 1]."""

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
        """The data set without its images."""
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
class Request:
    """What is asked for: the path of data sets that have one, the size of image folders, whether to try a download."""

    name: str
    path: Path | None
    image_size: int | None
    data_roots: tuple[Path, ...]
    download: bool


_SAMPLE = 2_000


def pixel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel, over all images in memory or 2,000 drawn with a fixed seed."""
    indices = np.arange(len(images))
    if images.array is None and len(images) > _SAMPLE:
        indices = np.sort(np.random.default_rng(0).choice(len(images), _SAMPLE, replace=False))
    count = 0
    total: np.ndarray | float = 0.0
    squares: np.ndarray | float = 0.0
    for block in np.array_split(indices, max(1, len(indices) // 1_000)):
        if images.array is not None:
            pixels = np.asarray(images.array[block[0] : block[-1] + 1])
        else:
            pixels = np.stack([images.image(index) for index in block])
        # In integers the sums are exact, so that the statistics do not depend on the order or the blocks.
        pixels = pixels.astype(np.int64)
        total = total + pixels.sum(axis=(0, 2, 3))
        squares = squares + (pixels**2).sum(axis=(0, 2, 3))
        count += pixels.shape[0] * pixels.shape[2] * pixels.shape[3]
    mean = np.asarray(total) / count / 255.0
    variance = np.asarray(squares) / count / 255.0**2 - mean**2
    # A channel that never changes is left as it is.
    std = np.sqrt(np.maximum(variance, 0.0))
    std[std < 1e-6] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())
