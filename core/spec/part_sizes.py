"""How many images a job trains on, from the size of its dataset alone."""

from __future__ import annotations

from dataclasses import dataclass

from core.spec.jobs import EvaluateJob, ExpertJob, FusionJob, JobSpec
from core.spec.split_sizes import shard_size


@dataclass(frozen=True)
class PartSize:
    """Images and classes of a job's part of its dataset. `exact`: the labels cannot change these numbers."""

    train: int
    val: int
    num_classes: int
    exact: bool


def part_size(spec: JobSpec, num_train: int, num_classes: int) -> PartSize:
    """The size of a resolved job's part of a training set of `num_train` images.

    How many images a shard of `class_shards` or `dirichlet` has depends on the labels: it is estimated.
    """
    split = spec.dataset.split
    if isinstance(spec, EvaluateJob):
        return PartSize(0, 0, num_classes, exact=True)
    held_out = round(num_train * (split.holdout or 0.0))
    size, exact = held_out or num_train, True
    if isinstance(spec, ExpertJob):
        size, exact = shard_size(split, spec.expert.shard, num_train - held_out)
        if split.regime == "class_shards":
            first, last = (spec.expert.shard + i for i in (0, 1))
            num_classes = last * num_classes // split.num_shards - first * num_classes // split.num_shards
    val = min(max(1, round(size * split.val)), max(0, size - 1))
    return PartSize(size - val, val, num_classes, exact)


def hold_out_warning(spec: JobSpec) -> str | None:
    """One sentence if a fusion job with untrained experts leaves most images to experts that it does not have."""
    held_out = spec.dataset.split.holdout
    if not isinstance(spec, FusionJob) or not held_out or all(expert.source for expert in spec.experts):
        return None
    return (
        f"untrained experts learn on the hold-out alone, {held_out:.0%} of the training images, since the rest is for "
        "experts of other jobs: remove dataset.split.holdout, or start from such experts"
    )
