"""Every data set by name, and where its files may lie. A new one is a file and a row here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.data import cifar, digits, folder, npz
from core.data.dataset import Dataset, DatasetInfo, Request
from core.spec import DatasetSpec
from core.spec.places import find_path


@dataclass(frozen=True)
class Source:
    """How to load a data set, and how to say what it is without loading it."""

    load: Callable[[Request], Dataset]
    describe: Callable[[Request], DatasetInfo]


DATASETS: dict[str, Source] = {
    "digits": Source(digits.load, digits.describe),
    "cifar10": Source(cifar.load, cifar.describe),
    "cifar100": Source(cifar.load, cifar.describe),
    "imagefolder": Source(folder.load, folder.describe),
    "npz": Source(npz.load, npz.describe),
}


def load_dataset(spec: DatasetSpec, data_roots: Sequence[Path], *, download: bool = True) -> Dataset:
    """Loads a data set; raises ValueError, and DatasetMissingError for a known one that is not there."""
    request = _request(spec, data_roots, download)
    return DATASETS[spec.name.partition(":")[0]].load(request)


def describe_dataset(spec: DatasetSpec, data_roots: Sequence[Path]) -> DatasetInfo:
    """What a data set is; for a known one without its files being there."""
    return DATASETS[spec.name.partition(":")[0]].describe(_request(spec, data_roots, download=False))


def _request(spec: DatasetSpec, data_roots: Sequence[Path], download: bool) -> Request:
    kind, _, path = spec.name.partition(":")
    if spec.image_size is not None and kind != "imagefolder":
        raise ValueError(f"image_size is for image folders; {kind} has a size of its own")
    roots = tuple(data_roots)
    return Request(spec.name, find_path(path, roots) if path else None, spec.image_size, roots, download)
