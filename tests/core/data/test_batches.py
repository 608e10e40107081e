from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from core.data import Batches, Images, open_batches
from core.data.batches import Batch

ARRAY = np.random.default_rng(0).integers(0, 256, size=(53, 1, 4, 4), dtype=np.uint8)
LABELS = np.arange(53) % 10
INDICES = np.arange(3, 50)
CPU = torch.device("cpu")


def batches(*, streamed: bool = False, images: Images | None = None, **options: object) -> Batches:
    images = images or Images(LABELS, ARRAY)
    options = {"batch_size": 8, "seed": 5, "shuffle": True, "drop_last": True, **options}
    if streamed:
        options["on_device_limit_bytes"] = 0
    return open_batches(images, INDICES, device=CPU, **options)  # type: ignore[arg-type]


def ids(source: Batches, epoch: int = 0, start_step: int = 0) -> list[list[int]]:
    """The indices of the images of every batch of an epoch."""
    return identify(source.epoch(epoch, start_step))


def identify(read: Iterator[Batch]) -> list[list[int]]:
    """The indices of the images of every batch, identified by their pixels."""
    known = {ARRAY[i].tobytes(): i for i in range(len(ARRAY))}
    result = []
    for images, labels in read:
        rows = [known[image.numpy().tobytes()] for image in images]
        assert labels.tolist() == LABELS[rows].tolist()
        result.append(rows)
    return result


@pytest.mark.parametrize("streamed", [False, True])
def test_an_epoch_shuffles_by_seed_and_epoch_alone(streamed: bool) -> None:
    first = ids(batches(streamed=streamed))
    assert [len(rows) for rows in first] == [8] * 5
    assert len({i for rows in first for i in rows}) == 40
    assert first == ids(batches())
    assert first != ids(batches(), epoch=1)
    assert first != ids(batches(seed=6))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("start", [0, 2, 5])
def test_a_resumed_epoch_continues_at_its_position(streamed: bool, start: int) -> None:
    assert ids(batches(streamed=streamed), 3, start) == ids(batches(), 3)[start:]


def test_worker_processes_give_the_same_batches() -> None:
    lazy = Images(LABELS, ARRAY)
    assert ids(batches(streamed=True, images=lazy, num_workers=2)) == ids(batches())


@pytest.mark.parametrize("num_workers", [None, 0, pytest.param(2, marks=pytest.mark.processes)])
def test_some_of_the_images_can_be_read_between_two_epochs(num_workers: int | None) -> None:
    """Without memory or processes of their own; the epochs stay as they are. None: images on the device."""
    options = {} if num_workers is None else {"images": Images(LABELS, None, ARRAY.__getitem__)}
    source = batches(streamed=num_workers is not None, num_workers=num_workers or 0, **options)
    own = [np.array([7, 3, 30]), np.array([], dtype=np.int64), np.array([49])]
    assert [ids(source, 0), identify(source.read(own)), ids(source, 1)] == [
        ids(batches(), 0),
        [[7, 3, 30], [49]],
        ids(batches(), 1),
    ]


def test_a_skipped_batch_is_not_read() -> None:
    read: list[int] = []

    def reader(index: int) -> np.ndarray:
        read.append(index)
        return np.asarray(ARRAY[index])

    assert len(ids(batches(images=Images(LABELS, None, reader)), 0, 4)) == 1
    assert len(read) == 8


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_every_batch_in_order(world_size: int) -> None:
    whole = ids(batches())
    shares = [ids(batches(rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert [[image for share in shares for image in share[step]] for step in range(5)] == whole


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_sees_every_image_once(world_size: int) -> None:
    seen: list[int] = []
    for rank in range(world_size):
        source = batches(shuffle=False, drop_last=False, batch_size=6, rank=rank, world_size=world_size)
        seen += [i for rows in ids(source) for i in rows]
    assert sorted(seen) == INDICES.tolist()


def test_fewer_images_than_a_batch_are_one_smaller_batch() -> None:
    source = batches(batch_size=64)
    assert (source.steps_per_epoch, source.batch_size) == (1, 47)
    shared = batches(batch_size=64, rank=1, world_size=2)
    assert (shared.steps_per_epoch, shared.batch_size) == (1, 46)
    assert [len(rows) for rows in ids(shared)] == [23]


def test_a_batch_that_cannot_be_divided_among_processes_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 8 cannot be divided among 3 processes"):
        batches(world_size=3)


def test_labels_are_mapped_to_an_experts_own_classes() -> None:
    label_map = np.full(10, -1)
    label_map[[3, 4]] = [0, 1]
    rows = np.flatnonzero(np.isin(LABELS, [3, 4]))
    options = {"batch_size": 4, "device": CPU, "seed": 0, "shuffle": False, "drop_last": False}
    source = open_batches(Images(LABELS, ARRAY), rows, label_map=label_map, **options)  # type: ignore[arg-type]
    assert {label for _, labels in source.epoch(0) for label in labels.tolist()} == {0, 1}
    with pytest.raises(ValueError, match="classes that this job was not built for"):
        open_batches(Images(LABELS, ARRAY), INDICES, label_map=label_map, **options)  # type: ignore[arg-type]
