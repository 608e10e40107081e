"""How many images a job trains on: counted where the labels are at hand, reckoned by fractions where not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.data import DatasetInfo, DatasetMissingError, load_dataset, make_splits
from core.spec import EvaluateJob, ExpertJob, JobSpec


@dataclass(frozen=True)
class DataSize:
    """Images for training and validation, the classes that occur, and whether that was counted or reckoned."""

    train: int
    val: int
    num_classes: int
    exact: bool


def data_size(spec: JobSpec, info: DatasetInfo, data_roots: Sequence[Path]) -> DataSize:
    """The size of a resolved job's part of its data set; raises ValueError for a split that is impossible."""
    num_classes = len(info.class_names)
    try:
        dataset = load_dataset(spec.dataset, data_roots, download=False)
    except DatasetMissingError:
        return _estimate(spec, info)
    splits = make_splits(dataset.train.labels, num_classes, spec.dataset.split)
    part = splits.shards[spec.expert.shard] if isinstance(spec, ExpertJob) else splits.fusion
    classes = len(part.classes) if isinstance(spec, ExpertJob) else num_classes
    return DataSize(len(part.train), len(part.val), classes, exact=True)


def _estimate(spec: JobSpec, info: DatasetInfo) -> DataSize:
    split = spec.dataset.split
    num_classes = len(info.class_names)
    held_out = round(info.num_train * (split.holdout or 0.0))
    if isinstance(spec, ExpertJob):
        shares = {
            "full": 1.0,
            "iid": split.shared + (1.0 - split.shared) / split.num_shards,
            "class_shards": 1.0 / split.num_shards,
            "dirichlet": 1.0 / split.num_shards,
        }
        size = round((info.num_train - held_out) * shares[split.regime])
        if split.regime == "class_shards":
            first, last = (spec.expert.shard + i for i in (0, 1))
            num_classes = last * num_classes // split.num_shards - first * num_classes // split.num_shards
    else:
        size = held_out or info.num_train
    if isinstance(spec, EvaluateJob):
        return DataSize(0, 0, num_classes, exact=True)
    val = max(1, round(size * split.val))
    return DataSize(size - val, val, num_classes, exact=False)
