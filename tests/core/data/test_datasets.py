from __future__ import annotations

import hashlib
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image

from core.data import DATASETS, DatasetMissingError, describe_dataset, load_dataset
from core.spec import DatasetSpec
from core.spec.dataset import NAMED_DATASETS, PATH_DATASETS
from core.spec.places import find_path


def test_the_specification_and_the_table_know_the_same_data_sets() -> None:
    assert tuple(DATASETS) == NAMED_DATASETS + PATH_DATASETS


def test_digits_are_scikit_learns_and_their_test_part_is_fixed() -> None:
    from sklearn.datasets import load_digits

    digits = load_dataset(DatasetSpec(), [])
    pixels, labels = load_digits(return_X_y=True)
    assert (len(digits.train), len(digits.test), digits.channels, digits.image_size) == (1437, 360, 1, 8)
    assert digits.train.array is not None
    assert digits.test.array is not None
    ours = np.concatenate([digits.train.array, digits.test.array]).reshape(1797, 64)
    order = np.random.default_rng(0).permutation(1797)
    assert np.array_equal(ours, np.rint(pixels[order] * 255 / 16))
    assert np.array_equal(np.concatenate([digits.train.labels, digits.test.labels]), labels[order])
    scaled = digits.train.array / 255.0
    assert digits.mean[0] == pytest.approx(scaled.mean())
    assert digits.std[0] == pytest.approx(scaled.std())
    assert describe_dataset(DatasetSpec(), []) == digits.info()


def write_cifar(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in the layout that the data set's authors chose, small; torchvision's list of checksums is given theirs."""
    rng = np.random.default_rng(0)
    reader: Any = torchvision.datasets.CIFAR10 if name == "cifar10" else torchvision.datasets.CIFAR100
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    classes = 10 if name == "cifar10" else 100
    key = "labels" if name == "cifar10" else "fine_labels"

    def write(file: str, content: dict[str, Any]) -> list[str]:
        data = pickle.dumps(content)
        (folder / file).write_bytes(data)
        return [file, hashlib.md5(data).hexdigest()]

    def batch(file: str) -> list[str]:
        pixels = rng.integers(0, 256, size=(200, 3072), dtype=np.uint8)
        return write(file, {"data": pixels, key: (np.arange(200) % classes).tolist()})

    monkeypatch.setattr(reader, "train_list", [batch(file) for file, _ in reader.train_list])
    monkeypatch.setattr(reader, "test_list", [batch(file) for file, _ in reader.test_list])
    meta = write(reader.meta["filename"], {reader.meta["key"]: [f"class {i}" for i in range(classes)]})
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": meta[1]})
    with tarfile.open(root / f"{name}.tar.gz", "w:gz") as archive:
        archive.add(folder, arcname=reader.base_folder)


@pytest.mark.parametrize(("name", "num_train"), [("cifar10", 1000), ("cifar100", 200)])
def test_cifar_is_read_by_torchvision_from_a_data_root(
    name: str, num_train: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path, name, monkeypatch)
    data = load_dataset(DatasetSpec(name=name), [tmp_path / "elsewhere", tmp_path], download=False)
    assert data.train.array is not None
    assert data.train.array.shape == (num_train, 3, 32, 32)
    assert len(data.test) == 200
    assert (data.natural_rgb, data.class_names[1]) == (True, "class 1")


def test_a_missing_cifar_says_which_file_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetMissingError, match=f"Put cifar-100-python.tar.gz .* into {tmp_path}"):
        load_dataset(DatasetSpec(name="cifar100"), [tmp_path], download=False)

    def offline(self: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", offline)
    with pytest.raises(DatasetMissingError, match="no network"):
        load_dataset(DatasetSpec(name="cifar10"), [tmp_path])
    assert describe_dataset(DatasetSpec(name="cifar100"), []).num_train == 50_000


def write_pictures(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 6) -> None:
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (20 + index, 30), (40 * number, 200, index)).save(folder / name / f"{index}.png")


def test_an_image_folder_is_read_lazily_and_squared(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train")
    write_pictures(tmp_path / "val", count=2)
    spec = DatasetSpec(name=f"imagefolder:{tmp_path}", image_size=16)
    data = load_dataset(spec, [tmp_path.parent])
    assert (len(data.train), len(data.test), data.class_names) == (12, 4, ("cat", "dog"))
    assert data.train.array is None
    image = data.train.image(11)
    assert image.shape == (3, 16, 16)
    assert image.dtype == np.uint8
    assert image[:, 0, 0].tolist() == [40, 200, 5]
    assert describe_dataset(spec, [tmp_path.parent]) == data.info()


def test_a_flat_image_folder_sets_a_fifth_aside(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    data = load_dataset(DatasetSpec(name=f"imagefolder:{tmp_path}", image_size=8), [tmp_path])
    assert (len(data.train), len(data.test)) == (10, 2)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    (tmp_path / "cat" / "3.png").write_bytes(b"not a picture")

    def read_all() -> None:
        data = load_dataset(DatasetSpec(name=f"imagefolder:{tmp_path}", image_size=8), [tmp_path])
        for part in (data.train, data.test):
            for index in range(len(part)):
                part.image(index)

    with pytest.raises(ValueError, match=r"cat/3\.png cannot be read as a picture"):
        read_all()


def test_image_folders_that_do_not_match_are_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train")
    write_pictures(tmp_path / "test", ("cat", "cow"))
    with pytest.raises(ValueError, match="must have the same classes"):
        load_dataset(DatasetSpec(name=f"imagefolder:{tmp_path}"), [tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="a folder of pictures for every class"):
        load_dataset(DatasetSpec(name=f"imagefolder:{tmp_path}/empty"), [tmp_path])
    with pytest.raises(ValueError, match="image_size is for image folders"):
        load_dataset(DatasetSpec(name="digits", image_size=16), [tmp_path])


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
        ({"images": np.zeros((10, 8, 9), np.uint8)}, "8 x 9 pixels; squares are needed"),
        ({"images": np.zeros((10, 8, 8, 4), np.uint8)}, "4 channels; 1 or 3"),
        ({"labels": np.arange(9)}, "10 whole numbers are needed"),
        ({"labels": np.arange(10) - 1}, "negative label"),
        ({"labels": np.zeros(10)}, "labels is float64"),
        ({"test_images": np.zeros((2, 8, 8), np.uint8)}, "no array 'test_labels'"),
        ({"class_names": np.array(["a"])}, "class_names has 1 names, the labels go up to 2"),
        ({"labels": np.array([object()] * 10)}, "without pickled objects"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    write_arrays(tmp_path / "data.npz", **(GOOD | change))
    with pytest.raises(ValueError, match=says) as caught:
        load_dataset(DatasetSpec(name="npz:data.npz"), [tmp_path])
    assert "data.npz" in str(caught.value)


def test_paths_outside_the_data_roots_do_not_exist(tmp_path: Path) -> None:
    root, evil = tmp_path / "data", tmp_path / "data-evil"
    root.mkdir()
    evil.mkdir()
    (evil / "x.npz").touch()
    (root / "ok.npz").touch()
    (root / "link").symlink_to(evil)
    (root / "inside").symlink_to(root / "ok.npz")
    assert find_path("ok.npz", [tmp_path / "none", root]) == root / "ok.npz"
    assert find_path(str(root / "ok.npz"), [root]) == root / "ok.npz"
    assert find_path("inside", [root]) == root / "ok.npz"
    for path in (
        "../data-evil/x.npz",
        str(evil / "x.npz"),
        "link/x.npz",
        "link",
        "/etc/passwd",
        "..",
        "missing",
        "a\x00b",
    ):
        with pytest.raises(ValueError, match="under the data roots"):
            find_path(path, [root])
    with pytest.raises(ValueError, match=r"under the data roots \(none\)"):
        find_path("ok.npz", [])


def test_a_lone_array_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", GOOD["images"])
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(ValueError, match=r"one\.npz cannot be read as an \.npz file"):
        load_dataset(DatasetSpec(name="npz:one.npz"), [tmp_path])
