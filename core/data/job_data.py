"""The data of one job: which images it trains on, which choose its checkpoint, which classes its logits stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.batches import Batches, open_batches
from core.data.catalogue import load_dataset
from core.data.dataset import Dataset, DataShape, Images
from core.data.splits import SplitIndices, Splits, load_splits, make_splits, save_splits
from core.runtime import Runtime
from core.spec import ExpertJob, JobSpec


@dataclass(frozen=True)
class JobData:
    """A data set and the part of it that a job works on. `classes` are class ids in the order of the job's logits."""

    dataset: Dataset
    splits: Splits
    part: SplitIndices
    classes: tuple[int, ...]

    @property
    def shape(self) -> DataShape:
        """What the data ask of a model that is trained on this part."""
        return DataShape(self.dataset.channels, self.dataset.image_size, len(self.classes))

    @property
    def label_map(self) -> np.ndarray | None:
        """From the data set's class ids to positions in the logits; None where they are the same."""
        num_classes = len(self.dataset.class_names)
        if len(self.classes) == num_classes:
            return None
        positions = np.full(num_classes, -1, dtype=np.int64)
        positions[list(self.classes)] = np.arange(len(self.classes))
        return positions


def load_job_data(spec: JobSpec, data_roots: Sequence[Path]) -> JobData:
    """Loads a resolved job's data set and divides it; raises ValueError where that is impossible."""
    dataset = load_dataset(spec.dataset, data_roots)
    num_classes = len(dataset.class_names)
    splits = make_splits(dataset.train.labels, num_classes, spec.dataset.split)
    if isinstance(spec, ExpertJob):
        part = splits.shards[spec.expert.shard]
        return JobData(dataset, splits, part, tuple(part.classes))
    return JobData(dataset, splits, splits.fusion, tuple(range(num_classes)))


def keep_splits(splits: Splits, path: Path) -> None:
    """Writes the splits beside the run, or makes sure that they are the ones it began with; raises ValueError."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_splits(splits, path)
    elif load_splits(path).sha256 != splits.sha256:
        raise ValueError(f"the data set or its split is not the one this run began with: {path} says otherwise")


def train_batches(phase: JobData, spec: JobSpec, runtime: Runtime) -> Batches:
    """The shuffled batches that a job trains on."""
    training = spec.training
    assert training.batch_size is not None
    return _open(
        phase, phase.dataset.train, phase.part.train, spec, runtime, batch_size=training.batch_size, shuffle=True
    )


def selection_batches(phase: JobData, spec: JobSpec, runtime: Runtime) -> Batches:
    """The batches that choose checkpoints: the part's own validation images, unless the job selects on test."""
    if spec.training.select_on == "test":
        test = phase.dataset.test
        known = np.flatnonzero(np.isin(test.labels, phase.classes))
        return _open(phase, test, known, spec, runtime)
    return _open(phase, phase.dataset.train, phase.part.val, spec, runtime)


def test_batches(dataset: Dataset, spec: JobSpec, runtime: Runtime) -> Batches:
    """The whole test set, with the data set's own class ids."""
    return _open(None, dataset.test, np.arange(len(dataset.test)), spec, runtime)


def _open(
    phase: JobData | None,
    images: Images,
    indices: np.ndarray,
    spec: JobSpec,
    runtime: Runtime,
    *,
    batch_size: int | None = None,
    shuffle: bool = False,
) -> Batches:
    evaluation_size = max(spec.training.batch_size or 0, 256)
    evaluation_size -= evaluation_size % runtime.world_size
    return open_batches(
        images,
        indices,
        batch_size=batch_size or evaluation_size,
        device=runtime.device,
        seed=spec.training.seed,
        shuffle=shuffle,
        drop_last=shuffle,
        rank=runtime.rank,
        world_size=runtime.world_size,
        num_workers=max(0, spec.resources.cpus - 1),
        label_map=phase.label_map if phase else None,
    )
