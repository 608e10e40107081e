"""CIFAR-10 and CIFAR-100, read by torchvision from a data root, or downloaded into one where the network allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from core.data.dataset import Dataset, DatasetInfo, DatasetMissingError, Images, Request, pixel_statistics

_CLASSES = {"cifar10": 10, "cifar100": 100}
_ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}


def describe(request: Request) -> DatasetInfo:
    """What is known without the files."""
    names = tuple(str(index) for index in range(_CLASSES[request.name]))
    return DatasetInfo(request.name, names, 3, 32, True, 50_000, 10_000)


def load(request: Request) -> Dataset:
    """Both parts; raises DatasetMissingError that says which file to put where."""
    root, download = _place(request)
    train, test = (_read(request, root, train=part, download=download) for part in (True, False))
    part = _images(train)
    return Dataset(request.name, part, _images(test), tuple(train.classes), 3, 32, True, *pixel_statistics(part))


def _reader(name: str) -> Any:
    from torchvision import datasets

    return datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100


def _place(request: Request) -> tuple[Path, bool]:
    reader = _reader(request.name)
    for root in request.data_roots:
        if (root / reader.base_folder).is_dir() or (root / _ARCHIVES[request.name]).is_file():
            return root, not (root / reader.base_folder).is_dir()
    if not request.download or not request.data_roots:
        raise _missing(request, "it is not there")
    return request.data_roots[0], True


def _read(request: Request, root: Path, *, train: bool, download: bool) -> Any:
    try:
        # With an archive already in place, torchvision's download only unpacks it.
        return _reader(request.name)(root, train=train, download=download)
    except Exception as error:  # what a failing download raises is not one family
        raise _missing(request, f"{type(error).__name__}: {error}") from None


def _missing(request: Request, why: str) -> DatasetMissingError:
    roots = ", ".join(str(root) for root in request.data_roots) or "a data root (none is configured)"
    return DatasetMissingError(
        f"{request.name} cannot be had ({why}). Put {_ARCHIVES[request.name]} from its authors' page into {roots}"
    )


def _images(part: Any) -> Images:
    return Images(np.asarray(part.targets, dtype=np.int64), np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)))
