"""Batches of images on the device, in an order that depends only on seed and epoch.

B global batch size, C channels, H height, W width, N images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from core.data.dataset import Images

ON_DEVICE_LIMIT_BYTES = 2 << 30

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class BatchOrder:
    """The indices of every batch, for one of `world_size` processes.

    `batch_size` is the global batch size. With `drop_last` an incomplete last batch is dropped (a new order every epoch
    gives each image its turn); fewer images than one batch make one smaller batch.
    """

    indices: np.ndarray
    batch_size: int
    seed: int
    shuffle: bool
    drop_last: bool
    rank: int
    world_size: int

    def __post_init__(self) -> None:
        if self.batch_size % self.world_size:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be divided among {self.world_size} processes: use a multiple"
            )
        if self.drop_last and len(self.indices) < self.world_size:
            raise ValueError(f"{len(self.indices)} images are too few for {self.world_size} processes")

    @property
    def global_batch(self) -> int:
        """Batch size over all processes."""
        if self.drop_last and len(self.indices) < self.batch_size:
            return len(self.indices) - len(self.indices) % self.world_size
        return self.batch_size

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        count = len(self.indices)
        return count // self.global_batch if self.drop_last else -(-count // self.global_batch)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[np.ndarray]:
        """This process's indices of every batch from `start_step` on; may be empty in the last batch."""
        order = self.indices
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch]).permutation(order)
        for step in range(start_step, self.steps):
            batch = order[step * self.global_batch : (step + 1) * self.global_batch]
            share = -(-len(batch) // self.world_size)
            yield batch[self.rank * share : (self.rank + 1) * share]


class Batches:
    """Batches of (uint8 images (b, C, H, W), int64 labels (b,)) on the device, b = B / world_size."""

    def __init__(self, images: Images, order: BatchOrder, device: torch.device, label_map: np.ndarray | None) -> None:
        self._order = order
        self._device = device
        labels = images.labels if label_map is None else label_map[images.labels]
        unknown = np.unique(images.labels[order.indices][labels[order.indices] < 0])
        if len(unknown):
            raise ValueError(f"the images have classes that this job was not built for: {unknown[:5].tolist()}")
        self._labels = labels

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch."""
        return self._order.steps

    @property
    def batch_size(self) -> int:
        """Batch size over all processes."""
        return self._order.global_batch

    @property
    def num_images(self) -> int:
        """Images over all processes."""
        return len(self._order.indices)

    def indices(self, epoch: int) -> np.ndarray:
        """The indices of this process's images, in the order in which the batches of an epoch have them."""
        return np.concatenate([np.empty(0, dtype=np.int64), *self._order.epoch(epoch)])

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on; earlier ones are not read."""
        return self.read(self._order.epoch(epoch, start_step))

    def read(self, batches: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Batches of these images, by their indices, all among those that this object has; empty ones are left out."""
        raise NotImplementedError


class ResidentBatches(Batches):
    """Holds all images on the device, so that a batch is one gather."""

    def __init__(self, images: Images, order: BatchOrder, device: torch.device, label_map: np.ndarray | None) -> None:
        super().__init__(images, order, device, label_map)
        assert images.array is not None
        used = np.unique(order.indices)
        self._position = np.zeros(len(images), dtype=np.int64)
        self._position[used] = np.arange(len(used))
        self._images_NCHW = torch.from_numpy(np.ascontiguousarray(images.array[used])).to(device)
        self._labels_N = torch.from_numpy(self._labels[used]).to(device)

    def read(self, batches: Iterable[np.ndarray]) -> Iterator[Batch]:
        batches = [rows for rows in batches if len(rows)]
        if not batches:
            return
        # The order of the whole epoch is copied at once, so that a step neither copies nor synchronises.
        positions = torch.from_numpy(self._position[np.concatenate(batches)]).to(self._device)
        for batch in positions.split([len(rows) for rows in batches]):
            yield self._images_NCHW.index_select(0, batch), self._labels_N.index_select(0, batch)


class StreamedBatches(Batches):
    """Reads images on demand, files in worker processes that live as long as this object.

    Only one epoch, or other list of batches, can be read at a time: starting another one ends the previous.
    """

    def __init__(
        self, images: Images, order: BatchOrder, device: torch.device, label_map: np.ndarray | None, num_workers: int
    ) -> None:
        super().__init__(images, order, device, label_map)
        # Every worker would need a copy of an array in memory, and gathering its rows needs no workers.
        workers = 0 if images.array is not None else min(num_workers, order.steps)
        self._sampler = _BatchSampler()
        self._loader: DataLoader[Any] = DataLoader(
            _LabelledImages(images, self._labels),
            batch_sampler=self._sampler,
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
            # A process that has used CUDA or threads must not be forked.
            multiprocessing_context="forkserver" if workers else None,
            # Without its own generator every epoch would draw from the global one, and a resumed run would differ.
            generator=torch.Generator(),
        )

    def read(self, batches: Iterable[np.ndarray]) -> Iterator[Batch]:
        self._sampler.batches = batches
        for images, labels in self._loader:
            yield images.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)


class _BatchSampler:
    """Gives the loader the batches that are to be read next."""

    batches: Iterable[np.ndarray] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (rows.tolist() for rows in self.batches if len(rows))


class _LabelledImages(torch.utils.data.Dataset[tuple[np.ndarray, int]]):
    def __init__(self, images: Images, labels: np.ndarray) -> None:
        self._images = images
        self._labels = labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self._images.image(index), int(self._labels[index])


def _collate(rows: Sequence[tuple[np.ndarray, int]]) -> Batch:
    return torch.from_numpy(np.stack([image for image, _ in rows])), torch.tensor([label for _, label in rows])


def open_batches(
    images: Images,
    indices: np.ndarray,
    *,
    batch_size: int,
    device: torch.device,
    seed: int,
    shuffle: bool,
    drop_last: bool,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    label_map: np.ndarray | None = None,
    on_device_limit_bytes: int = ON_DEVICE_LIMIT_BYTES,
) -> Batches:
    """Batches of the images with these indices: resident on the device up to `on_device_limit_bytes`, else streamed.

    `label_map` maps the dataset's classes to positions in the logits (-1: not among them). Raises ValueError where a
    batch cannot be divided among the processes.
    """
    order = BatchOrder(indices, batch_size, seed, shuffle, drop_last, rank, world_size)
    if images.array is not None and images.array[:1].nbytes * len(indices) <= on_device_limit_bytes:
        return ResidentBatches(images, order, device, label_map)
    return StreamedBatches(images, order, device, label_map, num_workers)
