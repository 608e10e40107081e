"""Arrays in an `.npz` file: `images` uint8 (N, H, W) or (N, H, W, C), and `labels`.

Optional: `test_images` and `test_labels` (otherwise a fifth is held out for the test), and `class_names`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.data.dataset import Dataset, DatasetInfo, DatasetRequest, Images, hold_out_test, pixel_statistics
from core.data.npz_reader import read_arrays
from core.run.data_files import ARRAYS

MAX_CLASSES = 1_000_000


def describe(request: DatasetRequest) -> DatasetInfo:
    """Loads the file: only its arrays describe it."""
    return load(request).info()


def load(request: DatasetRequest) -> Dataset:
    """Reads and checks every array; raises ValueError that names the file, the array and what is allowed."""
    assert request.path is not None
    arrays = read_arrays(request.path, ARRAYS, request.data_roots)
    images, labels = _pair(request.path, arrays, "images", "labels")
    if "test_images" in arrays or "test_labels" in arrays:
        test_images, test_labels = _pair(request.path, arrays, "test_images", "test_labels")
        if test_images.shape[1:] != images.shape[1:]:
            raise _error(request.path, f"test_images has shape {test_images.shape}, images has {images.shape}")
    else:
        train, test = hold_out_test(len(images), request.path)
        test_images, test_labels, images, labels = images[test], labels[test], images[train], labels[train]
    num_classes = int(max(labels.max(), test_labels.max())) + 1
    training_set = Images(labels, images)
    channels = images.shape[1]
    return Dataset(
        request.name,
        training_set,
        Images(test_labels, test_images),
        _class_names(request.path, arrays, num_classes),
        channels,
        images.shape[2],
        channels == 3,
        *pixel_statistics(training_set),
    )


def _pair(path: Path, arrays: dict[str, np.ndarray], images_key: str, labels_key: str) -> tuple[np.ndarray, np.ndarray]:
    for key in (images_key, labels_key):
        if key not in arrays:
            raise _error(path, f"there is no array {key!r}; of the expected arrays the file has {sorted(arrays)}")
    images, labels = arrays[images_key], arrays[labels_key]
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise _error(path, f"{images_key} is {images.dtype} of shape {images.shape}; it must be uint8 (N, H, W[, C])")
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[1] != images.shape[2]:
        raise _error(path, f"{images_key} has {images.shape[1]} x {images.shape[2]} pixels; images must be square")
    if images.shape[3] not in (1, 3):
        raise _error(path, f"{images_key} has {images.shape[3]} channels; there must be 1 or 3")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images) or images.size == 0:
        expected = f"it must be {len(images)} integers" if images.size else "there must be at least one image"
        raise _error(path, f"{labels_key} is {labels.dtype} of shape {labels.shape}; {expected}")
    if labels.min() < 0:
        raise _error(path, f"{labels_key} has a negative label ({labels.min()}); classes are numbered from 0")
    if int(labels.max()) >= MAX_CLASSES:
        raise _error(path, f"{labels_key} has the label {labels.max()}; labels must be below {MAX_CLASSES:,}")
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels.astype(np.int64)


def _class_names(path: Path, arrays: dict[str, np.ndarray], num_classes: int) -> tuple[str, ...]:
    if "class_names" not in arrays:
        return tuple(str(index) for index in range(num_classes))
    names = tuple(str(name) for name in np.atleast_1d(arrays["class_names"]))
    if len(names) < num_classes:
        raise _error(path, f"class_names has {len(names)} names, but the labels go up to {num_classes - 1}")
    return names


def _error(path: Path, message: str) -> ValueError:
    return ValueError(f"{path}: {message}")
