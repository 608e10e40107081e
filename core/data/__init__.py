"""Data sets, how they are divided, and batches of them."""

from __future__ import annotations

from core.data.batches import Batches, open_batches
from core.data.catalogue import DATASETS, describe_dataset, load_dataset
from core.data.dataset import Dataset, DatasetInfo, DatasetMissingError, DataShape, Images
from core.data.splits import SplitIndices, Splits, load_splits, make_splits, save_splits

__all__ = [
    "DATASETS",
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
