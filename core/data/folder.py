"""Image folders: `train/<class>/..` beside `test/` or `val/`, or classes alone (a fifth is then for the test)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from core.data.dataset import Dataset, DatasetInfo, Images, Request, pixel_statistics

DEFAULT_SIZE = 224
TEST_FRACTION = 0.2


def describe(request: Request) -> DatasetInfo:
    """Counts the files; reads none."""
    train, test, classes, size = _scan(request)
    return DatasetInfo(request.name, classes, 3, size, True, len(train), len(test))


def load(request: Request) -> Dataset:
    """Images that are read as they are needed: RGB, the shorter side to `image_size`, the centre of it."""
    train, test, classes, size = _scan(request)
    part = _images(train, size)
    return Dataset(request.name, part, _images(test, size), classes, 3, size, True, *pixel_statistics(part))


Samples = list[tuple[str, int]]


def _scan(request: Request) -> tuple[Samples, Samples, tuple[str, ...], int]:
    assert request.path is not None
    size = request.image_size or DEFAULT_SIZE
    test_folder = next((request.path / name for name in ("test", "val") if (request.path / name).is_dir()), None)
    if (request.path / "train").is_dir() and test_folder is not None:
        train, test = _samples(request.path / "train"), _samples(test_folder)
        if train.classes != test.classes:
            raise ValueError(
                f"{request.path}: train and {test_folder.name} must have the same classes; "
                f"the first of theirs are {train.classes[:5]} and {test.classes[:5]}"
            )
        return train.samples, test.samples, tuple(train.classes), size
    whole = _samples(request.path)
    order = np.random.default_rng(0).permutation(len(whole.samples))
    num_test = round(len(order) * TEST_FRACTION)
    if num_test < 1:
        raise ValueError(f"{request.path} has {len(order)} images: too few to set a fifth aside for the test")
    chosen, held = np.sort(order[:-num_test]), np.sort(order[-num_test:])
    return [whole.samples[i] for i in chosen], [whole.samples[i] for i in held], tuple(whole.classes), size


def _samples(folder: Path) -> Any:
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(str(folder))
    except (FileNotFoundError, OSError) as error:
        raise ValueError(f"{folder} should have a folder of pictures for every class: {error}") from None


def _images(samples: Samples, size: int) -> Images:
    return Images(np.array([label for _, label in samples], dtype=np.int64), None, partial(_read, samples, size))


def _read(samples: Samples, size: int, index: int) -> np.ndarray:
    from PIL import Image, ImageOps

    path, _ = samples[index]
    try:
        with Image.open(path) as picture:
            square = ImageOps.fit(picture.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from None
    return np.ascontiguousarray(np.asarray(square, dtype=np.uint8).transpose(2, 0, 1))
