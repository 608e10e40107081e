"""How many images a job trains on: counted if the dataset is loaded, estimated from fractions if it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.data import DatasetInfo, DatasetMissingError, DataShape, describe_dataset
from core.data.job_data import JobData, load_job_data
from core.spec import EvaluateJob, JobSpec, resolve
from core.spec.part_sizes import part_size


@dataclass(frozen=True)
class DataSize:
    """A dataset, and the images and classes of a job's part of it. `exact`: counted rather than estimated."""

    info: DatasetInfo
    train: int
    val: int
    num_classes: int
    exact: bool

    @property
    def shape(self) -> DataShape:
        """The shape of a model for this part."""
        return DataShape(self.info.channels, self.info.image_size, self.num_classes)


def count_images(data: JobData) -> DataSize:
    """The size of loaded data."""
    return DataSize(data.dataset.info(), len(data.part.train), len(data.part.val), len(data.classes), exact=True)


def find_data_size(spec: JobSpec, data_roots: Sequence[Path]) -> DataSize:
    """The size of a job's data, without downloading; raises ValueError for an impossible split.

    Where a named dataset is not available, its published size is used and the split is estimated.
    """
    spec = resolve(spec)
    try:
        return count_images(load_job_data(spec, data_roots, download=False))
    except DatasetMissingError:
        return _estimate(spec, describe_dataset(spec.dataset, data_roots))


def _estimate(spec: JobSpec, info: DatasetInfo) -> DataSize:
    size = part_size(spec, info.num_train, len(info.class_names))
    return DataSize(info, size.train, size.val, size.num_classes, exact=isinstance(spec, EvaluateJob))
