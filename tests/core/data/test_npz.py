from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.data import load_dataset
from core.spec import DatasetSpec


def write_arrays(path: Path, **arrays: Any) -> None:
    np.savez(path, **arrays)


GOOD: dict[str, Any] = {"images": np.zeros((10, 8, 8), np.uint8), "labels": np.arange(10) % 3}


def test_arrays_are_loaded_with_and_without_a_test_part(tmp_path: Path) -> None:
    write_arrays(tmp_path / "grey.npz", **GOOD)
    grey = load_dataset(DatasetSpec(name="npz:grey.npz"), [tmp_path])
    assert (len(grey.train), len(grey.test), grey.channels, grey.natural_rgb) == (8, 2, 1, False)
    color = {"images": np.zeros((4, 8, 8, 3), np.uint8), "labels": np.array([0, 1, 0, 1])}
    test = {"test_images": np.ones((2, 8, 8, 3), np.uint8), "test_labels": np.array([1, 0])}
    write_arrays(tmp_path / "color.npz", class_names=np.array(["a", "b"]), **color, **test)
    data = load_dataset(DatasetSpec(name="npz:color.npz"), [tmp_path])
    assert (len(data.train), len(data.test), data.channels, data.natural_rgb) == (4, 2, 3, True)
    assert data.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": np.zeros((10, 8, 8), np.float32)}, "images is float32"),
        ({"images": np.zeros((10, 64), np.uint8)}, r"of shape \(10, 64\)"),
        ({"images": np.zeros((10, 8, 9), np.uint8)}, "8 x 9 pixels; images must be square"),
        ({"images": np.zeros((10, 8, 8, 4), np.uint8)}, "4 channels; there must be 1 or 3"),
        ({"labels": np.arange(9)}, "it must be 10 integers"),
        ({"labels": np.arange(10) - 1}, "negative label"),
        ({"labels": np.zeros(10)}, "labels is float64"),
        ({"test_images": np.zeros((2, 8, 8), np.uint8)}, "no array 'test_labels'"),
        ({"class_names": np.array(["a"])}, "class_names has 1 names, but the labels go up to 2"),
        ({"labels": np.array([object()] * 10)}, "without pickled objects"),
    ],
)
def test_unsuitable_arrays_are_refused_by_name(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    write_arrays(tmp_path / "data.npz", **(GOOD | change))
    with pytest.raises(ValueError, match=says) as caught:
        load_dataset(DatasetSpec(name="npz:data.npz"), [tmp_path])
    assert "data.npz" in str(caught.value)


def test_a_single_array_is_not_an_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", GOOD["images"])
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(ValueError, match=r"one\.npz cannot be read as an \.npz file"):
        load_dataset(DatasetSpec(name="npz:one.npz"), [tmp_path])
