"""Datasets, their splits, and batches of images."""

from __future__ import annotations

from core.data.batches import Batches, open_batches
from core.data.catalogue import describe_dataset, load_dataset
from core.data.dataset import Dataset, DatasetInfo, DatasetMissingError, DataShape, Images
from core.data.split_indices import SplitIndices, Splits, load_splits, save_splits
from core.data.splits import make_splits

__all__ = [
    "Batches",
    "DataShape",
    "Dataset",
    "DatasetInfo",
    "DatasetMissingError",
    "Images",
    "SplitIndices",
    "Splits",
    "describe_dataset",
    "load_dataset",
    "load_splits",
    "make_splits",
    "open_batches",
    "save_splits",
]
