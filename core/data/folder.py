"""Image folders: `train/<class>/..` beside `test/` or `val/`, or class folders alone (a fifth is then the test set)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from core.data.dataset import Dataset, DatasetInfo, DatasetRequest, Images, hold_out_test, pixel_statistics
from core.run.data_files import find_test_folder
from core.spec.data_paths import open_data_file

DEFAULT_SIZE = 224

Samples = list[tuple[str, int]]


def describe(request: DatasetRequest) -> DatasetInfo:
    """Counts the files without reading them."""
    train, test, classes, size = _scan(request)
    return DatasetInfo(request.name, classes, 3, size, True, len(train), len(test))


def load(request: DatasetRequest) -> Dataset:
    """Images that are read on demand: RGB, the shorter side resized to `image_size`, centre crop."""
    train, test, classes, size = _scan(request)
    # Worker processes may have another working directory.
    roots = tuple(root.resolve() for root in request.data_roots)
    training_set, test_set = _images(train, size, roots), _images(test, size, roots)
    return Dataset(request.name, training_set, test_set, classes, 3, size, True, *pixel_statistics(training_set))


def _scan(request: DatasetRequest) -> tuple[Samples, Samples, tuple[str, ...], int]:
    """Training samples, test samples, class names and image size."""
    assert request.path is not None
    size = request.image_size or DEFAULT_SIZE
    test_folder = find_test_folder(request.path)
    if test_folder is not None:
        train, test = _image_folder(request.path / "train"), _image_folder(test_folder)
        if train.classes != test.classes:
            raise ValueError(
                f"{request.path}: train and {test_folder.name} must have the same classes; "
                f"their first ones are {train.classes[:5]} and {test.classes[:5]}"
            )
        return train.samples, test.samples, tuple(train.classes), size
    whole = _image_folder(request.path)
    training_set, test_set = (
        [whole.samples[i] for i in np.sort(indices)] for indices in hold_out_test(len(whole.samples), request.path)
    )
    return training_set, test_set, tuple(whole.classes), size


def _image_folder(folder: Path) -> Any:
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(str(folder))
    except OSError as error:
        raise ValueError(f"{folder} must have a folder of images for every class: {error}") from None


def _images(samples: Samples, size: int, data_roots: Sequence[Path]) -> Images:
    labels = np.array([label for _, label in samples], dtype=np.int64)
    return Images(labels, None, partial(_read, samples, size, data_roots))


def _read(samples: Samples, size: int, data_roots: Sequence[Path], index: int) -> np.ndarray:
    from PIL import Image, ImageOps

    path, _ = samples[index]
    # A folder may hold links and named pipes: an image is read only from a regular file below the data roots.
    with open_data_file(Path(path), data_roots) as file:
        try:
            with Image.open(file) as picture:
                square = ImageOps.fit(picture.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"{path} cannot be read as an image: {error}") from None
    return np.ascontiguousarray(np.asarray(square, dtype=np.uint8).transpose(2, 0, 1))
