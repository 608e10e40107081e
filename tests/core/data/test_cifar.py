from __future__ import annotations

import hashlib
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision

from core.data import DatasetMissingError, describe_dataset, load_dataset
from core.spec import DatasetSpec


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
