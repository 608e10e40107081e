"""CIFAR-10 and CIFAR-100, read by torchvision from a data root, or downloaded into one where the network allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from core.data.dataset import Dataset, DatasetInfo, DatasetMissingError, DatasetRequest, Images, pixel_statistics
from core.run.data_files import find_named_dataset
from core.spec.catalogue import DATASET_FACTS


def describe(request: DatasetRequest) -> DatasetInfo:
    """Needs no file; classes are named by their number."""
    facts = DATASET_FACTS[request.name]
    names = tuple(str(index) for index in range(facts.classes))
    return DatasetInfo(request.name, names, 3, 32, True, facts.train, facts.test)


def load(request: DatasetRequest) -> Dataset:
    """Reads training and test set; raises DatasetMissingError that says which file to put where."""
    root, download = _locate(request)
    train, test = (_read(request, root, train=train, download=download) for train in (True, False))
    training_set = _images(train)
    return Dataset(
        request.name,
        training_set,
        _images(test),
        tuple(train.classes),
        3,
        32,
        True,
        *pixel_statistics(training_set),
    )


def _locate(request: DatasetRequest) -> tuple[Path, bool]:
    """The data root to read from, and whether torchvision must download or unpack first."""
    path = find_named_dataset(request.name, request.data_roots)
    if path is not None:
        return path.parent, path.is_file()
    if not request.download or not request.data_roots:
        raise _missing(request, "no data root has it")
    return request.data_roots[0], True


def _read(request: DatasetRequest, root: Path, *, train: bool, download: bool) -> Any:
    from torchvision import datasets

    reader = datasets.CIFAR10 if request.name == "cifar10" else datasets.CIFAR100
    try:
        # If the archive is already there, torchvision only unpacks it.
        return reader(root, train=train, download=download)
    except Exception as error:  # a failing download raises many types of errors
        raise _missing(request, f"{type(error).__name__}: {error}") from None


def _missing(request: DatasetRequest, reason: str) -> DatasetMissingError:
    roots = ", ".join(str(root) for root in request.data_roots) or "a data root (none is configured)"
    archive = DATASET_FACTS[request.name].archive
    return DatasetMissingError(
        f"the data set {request.name} is not available ({reason}). Put {archive} from its authors' page into {roots}"
    )


def _images(subset: Any) -> Images:
    pixels = np.ascontiguousarray(subset.data.transpose(0, 3, 1, 2))
    return Images(np.asarray(subset.targets, dtype=np.int64), pixels)
