from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.data import describe_dataset, load_dataset
from core.spec import DatasetSpec
from tests.core.in_time import result_in_time


def write_images(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 6) -> None:
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (20 + index, 30), (40 * number, 200, index)).save(folder / name / f"{index}.png")


def test_an_image_folder_is_read_lazily_and_squared(tmp_path: Path) -> None:
    write_images(tmp_path / "train")
    write_images(tmp_path / "val", count=2)
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
    write_images(tmp_path)
    data = load_dataset(DatasetSpec(name=f"imagefolder:{tmp_path}", image_size=8), [tmp_path])
    assert (len(data.train), len(data.test)) == (10, 2)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "cat" / "3.png").write_bytes(b"not an image")

    def read_all() -> None:
        data = load_dataset(DatasetSpec(name=f"imagefolder:{tmp_path}", image_size=8), [tmp_path])
        for part in (data.train, data.test):
            for index in range(len(part)):
                part.image(index)

    with pytest.raises(ValueError, match=r"cat/3\.png cannot be read as an image"):
        read_all()


def test_image_folders_that_do_not_match_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "train")
    write_images(tmp_path / "test", ("cat", "cow"))
    with pytest.raises(ValueError, match="must have the same classes"):
        load_dataset(DatasetSpec(name=f"imagefolder:{tmp_path}"), [tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="a folder of images for every class"):
        load_dataset(DatasetSpec(name=f"imagefolder:{tmp_path}/empty"), [tmp_path])


def test_a_named_pipe_among_the_images_is_refused_without_blocking(tmp_path: Path) -> None:
    write_images(tmp_path, count=5)
    for number in range(5):
        (tmp_path / "cat" / f"{number}.png").unlink()
        os.mkfifo(tmp_path / "cat" / f"{number}.png")
    spec = DatasetSpec(name=f"imagefolder:{tmp_path}", image_size=8)
    error = result_in_time(lambda: load_dataset(spec, [tmp_path]))
    assert "is a named pipe; data are read from regular files only" in str(error)


def test_a_link_is_followed_only_below_the_data_roots(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    write_images(root)
    write_images(outside)
    linked = root / "cat" / "0.png"
    linked.unlink()
    linked.symlink_to(root / "cat" / "1.png")
    data = load_dataset(DatasetSpec(name="imagefolder:.", image_size=8), [root])
    assert all(image.shape == (3, 8, 8) for image in map(data.train.image, range(len(data.train))))
    linked.unlink()
    linked.symlink_to(outside / "cat" / "0.png")
    with pytest.raises(ValueError, match=r"no data at .*cat/0\.png under the data roots"):
        read_all(DatasetSpec(name="imagefolder:.", image_size=8), root)


def read_all(spec: DatasetSpec, root: Path) -> None:
    data = load_dataset(spec, [root])
    for images in (data.train, data.test):
        for index in range(len(images)):
            images.image(index)
