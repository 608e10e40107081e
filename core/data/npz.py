"""Arrays in an `.npz` file: `images` uint8 (N, H, W) or (N, H, W, C), and `labels`.

Optional: `test_images` and `test_labels` (a fifth is set aside otherwise), and `class_names`.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from core.data.dataset import Dataset, DatasetInfo, Images, Request, pixel_statistics

TEST_FRACTION = 0.2


def describe(request: Request) -> DatasetInfo:
    """The same as loading it: the arrays tell."""
    return load(request).info()


def load(request: Request) -> Dataset:
    """Checks every array; raises ValueError that names the file and what was found in it."""
    assert request.path is not None
    arrays = _arrays(request.path)
    images, labels = _pair(request.path, arrays, "images", "labels")
    if "test_images" in arrays or "test_labels" in arrays:
        test_images, test_labels = _pair(request.path, arrays, "test_images", "test_labels")
        if test_images.shape[1:] != images.shape[1:]:
            raise _wrong(request.path, f"test_images has shape {test_images.shape}, images {images.shape}")
    else:
        order = np.random.default_rng(0).permutation(len(images))
        num_test = round(len(order) * TEST_FRACTION)
        if num_test < 1:
            raise _wrong(request.path, f"{len(order)} images are too few to set a fifth aside for the test")
        test, train = order[-num_test:], order[:-num_test]
        test_images, test_labels, images, labels = images[test], labels[test], images[train], labels[train]
    num_classes = int(max(labels.max(), test_labels.max())) + 1
    part = Images(labels, images)
    channels = images.shape[1]
    return Dataset(
        request.name,
        part,
        Images(test_labels, test_images),
        _class_names(request.path, arrays, num_classes),
        channels,
        images.shape[2],
        channels == 3,
        *pixel_statistics(part),
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as an .npz file without pickled objects: {error}") from None


def _pair(path: Path, arrays: dict[str, np.ndarray], images_key: str, labels_key: str) -> tuple[np.ndarray, np.ndarray]:
    for key in (images_key, labels_key):
        if key not in arrays:
            raise _wrong(path, f"there is no array {key!r}; it has {sorted(arrays)}")
    images, labels = arrays[images_key], arrays[labels_key]
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise _wrong(path, f"{images_key} is {images.dtype} of shape {images.shape}; uint8 (N, H, W[, C]) is needed")
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[1] != images.shape[2]:
        raise _wrong(path, f"{images_key} are {images.shape[1]} x {images.shape[2]} pixels; squares are needed")
    if images.shape[3] not in (1, 3):
        raise _wrong(path, f"{images_key} have {images.shape[3]} channels; 1 or 3 are needed")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images) or images.size == 0:
        needed = f"{len(images)} whole numbers" if images.size else "at least one image"
        raise _wrong(path, f"{labels_key} is {labels.dtype} of shape {labels.shape}; {needed} are needed")
    if labels.min() < 0:
        raise _wrong(path, f"{labels_key} has a negative label ({labels.min()}); classes are counted from 0")
    if int(labels.max()) >= 1_000_000:
        raise _wrong(path, f"{labels_key} has the label {labels.max()}; classes are counted from 0")
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels.astype(np.int64)


def _class_names(path: Path, arrays: dict[str, np.ndarray], num_classes: int) -> tuple[str, ...]:
    if "class_names" not in arrays:
        return tuple(str(index) for index in range(num_classes))
    names = tuple(str(name) for name in np.atleast_1d(arrays["class_names"]))
    if len(names) < num_classes:
        raise _wrong(path, f"class_names has {len(names)} names, the labels go up to {num_classes - 1}")
    return names


def _wrong(path: Path, what: str) -> ValueError:
    return ValueError(f"{path}: {what}")
