"""The data of one job: images to train on, images that select checkpoints, and the classes of the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.batches import Batches, BatchOrder, open_batches
from core.data.catalogue import load_dataset
from core.data.dataset import Dataset, DataShape, Images
from core.data.split_indices import SplitIndices, Splits, load_splits, save_splits
from core.data.splits import make_splits
from core.runtime import Runtime
from core.spec import ExpertJob, JobSpec

MIN_EVALUATION_BATCH = 256
# Of the training images, at most one in so many is measured after each epoch, so that this costs little.
SAMPLE_FRACTION = 4
# Keeps the choice of these images apart from every other use of the seed.
_SAMPLE_STREAM = 15


@dataclass(frozen=True)
class JobData:
    """A dataset and the part of it that a job uses. `classes` are class ids in the order of the job's logits."""

    dataset: Dataset
    splits: Splits
    part: SplitIndices
    classes: tuple[int, ...]

    @property
    def shape(self) -> DataShape:
        """The shape of a model for this part."""
        return DataShape(self.dataset.channels, self.dataset.image_size, len(self.classes))

    @property
    def label_map(self) -> np.ndarray | None:
        """Positions in the logits by class id; None where they are equal."""
        num_classes = len(self.dataset.class_names)
        if len(self.classes) == num_classes:
            return None
        positions = np.full(num_classes, -1, dtype=np.int64)
        positions[list(self.classes)] = np.arange(len(self.classes))
        return positions


def load_job_data(spec: JobSpec, data_roots: Sequence[Path], *, download: bool = True) -> JobData:
    """Loads and splits the dataset of a resolved job.

    Raises ValueError for an impossible split, and DatasetMissingError where the dataset is not available.
    """
    dataset = load_dataset(spec.dataset, data_roots, download=download)
    num_classes = len(dataset.class_names)
    splits = make_splits(dataset.train.labels, num_classes, spec.dataset.split)
    if isinstance(spec, ExpertJob):
        part = splits.shards[spec.expert.shard]
        return JobData(dataset, splits, part, tuple(part.classes))
    return JobData(dataset, splits, splits.fusion, tuple(range(num_classes)))


def keep_splits(splits: Splits, path: Path, *, has_begun: bool = True) -> None:
    """Writes the splits into the run directory, or checks that a run that has begun has them; raises ValueError."""
    if not path.exists() or not has_begun:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_splits(splits, path)
    elif load_splits(path).sha256 != splits.sha256:
        raise ValueError(
            f"the dataset or its split has changed since this run began: it differs from {path}. "
            "Restore the dataset, or use another run directory"
        )


def train_batches(data: JobData, spec: JobSpec, runtime: Runtime) -> Batches:
    """Shuffled batches of the training images."""
    batch_size = spec.training.batch_size
    assert batch_size is not None
    return _open(data, data.dataset.train, data.part.train, spec, runtime, batch_size=batch_size, shuffle=True)


def selection_batches(data: JobData, spec: JobSpec, runtime: Runtime) -> Batches:
    """Batches of the images that select checkpoints: the validation images, unless the job selects on test."""
    if spec.training.select_on == "test":
        test = data.dataset.test
        known = np.flatnonzero(np.isin(test.labels, data.classes))
        return _open(data, test, known, spec, runtime)
    return _open(data, data.dataset.train, data.part.val, spec, runtime)


def training_sample(data: JobData, spec: JobSpec, runtime: Runtime, *, num_images: int) -> BatchOrder:
    """A random sample of the training images, in batches: `num_images` of them, and at most a quarter.

    The sample is a function of `training.seed`: the same in every epoch and attempt. `train_batches` have its images.
    """
    indices = data.part.train
    size = max(1, min(num_images, len(indices) // SAMPLE_FRACTION))
    chosen = np.random.default_rng([spec.training.seed, _SAMPLE_STREAM]).choice(indices, size, replace=False)
    return BatchOrder(
        np.sort(chosen),
        _evaluation_size(spec, runtime),
        spec.training.seed,
        shuffle=False,
        drop_last=False,
        rank=runtime.rank,
        world_size=runtime.world_size,
    )


def test_batches(dataset: Dataset, spec: JobSpec, runtime: Runtime) -> Batches:
    """Batches of the whole test set, labelled with the dataset's class ids."""
    return _open(None, dataset.test, np.arange(len(dataset.test)), spec, runtime)


def validation_batches(data: JobData, spec: JobSpec, runtime: Runtime) -> Batches:
    """Batches of the validation images of this job, labelled with the dataset's class ids."""
    return _open(None, data.dataset.train, data.part.val, spec, runtime)


def _open(
    data: JobData | None,
    images: Images,
    indices: np.ndarray,
    spec: JobSpec,
    runtime: Runtime,
    *,
    batch_size: int | None = None,
    shuffle: bool = False,
) -> Batches:
    return open_batches(
        images,
        indices,
        batch_size=batch_size or _evaluation_size(spec, runtime),
        device=runtime.device,
        seed=spec.training.seed,
        shuffle=shuffle,
        drop_last=shuffle,
        rank=runtime.rank,
        world_size=runtime.world_size,
        num_workers=max(0, spec.resources.cpus - 1),
        label_map=data.label_map if data else None,
    )


def _evaluation_size(spec: JobSpec, runtime: Runtime) -> int:
    """The batch size of evaluations over all processes."""
    size = max(spec.training.batch_size or 0, MIN_EVALUATION_BATCH)
    return size - size % runtime.world_size
