"""Loads a dataset by name, with the module that its row in `core.spec.dataset.DATASET_KINDS` names."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from core.data.dataset import Dataset, DatasetInfo, DatasetRequest
from core.spec import DatasetSpec
from core.spec.data_paths import find_path
from core.spec.dataset import DATASET_KINDS


class DatasetModule(Protocol):
    """The functions of a dataset's module."""

    def load(self, request: DatasetRequest) -> Dataset:
        """Reads the dataset; raises ValueError, or DatasetMissingError where it is not available."""

    def describe(self, request: DatasetRequest) -> DatasetInfo:
        """Describes the dataset, as far as possible without reading its images."""


def dataset_module(name: str) -> DatasetModule:
    """The module of a dataset, given its full name such as `npz:digits.npz`."""
    module = import_module(f"core.data.{DATASET_KINDS[name.partition(':')[0]].module}")
    return cast(DatasetModule, module)


def load_dataset(spec: DatasetSpec, data_roots: Sequence[Path], *, download: bool = True) -> Dataset:
    """Loads a dataset; raises ValueError, and DatasetMissingError where a known dataset is not available."""
    return dataset_module(spec.name).load(_request(spec, data_roots, download))


def describe_dataset(spec: DatasetSpec, data_roots: Sequence[Path]) -> DatasetInfo:
    """Describes a dataset; a named one need not be available."""
    return dataset_module(spec.name).describe(_request(spec, data_roots, download=False))


def _request(spec: DatasetSpec, data_roots: Sequence[Path], download: bool) -> DatasetRequest:
    if wrong_size := spec.image_size_error():
        raise ValueError(wrong_size)
    path = spec.name.partition(":")[2]
    roots = tuple(data_roots)
    return DatasetRequest(spec.name, find_path(path, roots) if path else None, spec.image_size, roots, download)
