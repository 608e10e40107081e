"""Splits of a training set: a hold-out for the fusion phase, shards for the experts, validation images in each."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from core.data.split_indices import SplitIndices, Splits
from core.spec import Split
from core.spec.dataset import default_holdout
from core.spec.split_sizes import shard_error, split_error

Rng = np.random.Generator


def make_splits(labels: np.ndarray, num_classes: int, split: Split) -> Splits:
    """Splits images with these labels; a function of the labels and the specification alone.

    Raises ValueError for impossible splits: more shards than classes, or a shard or hold-out without training images.
    """
    total = len(labels)
    if wrong_split := split_error(split, total, num_classes):
        raise ValueError(wrong_split.message)
    holdout = default_holdout(split.regime) if split.holdout is None else split.holdout
    expert_part, fusion_part = _hold_out(total, round(total * holdout), split)
    dealt = REGIMES[split.regime](expert_part, labels, num_classes, split, _shard_rng(split))
    for shard, indices in enumerate(dealt):
        if wrong_shard := shard_error(split, shard, len(indices)):
            raise ValueError(wrong_shard)
    shards = tuple(_divide(indices, labels, split, _rng(split, 2, shard)) for shard, indices in enumerate(dealt))
    return Splits(shards, _divide(fusion_part, labels, split, _rng(split, 3)))


def _hold_out(total: int, held_out: int, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Indices for the experts and for the fusion phase.

    Version 2 does as the lab's scripts, so that experts trained by them have not seen the hold-out: the first images of
    the seed's permutation are held out and the rest is sorted. Version 1 held out the last ones and kept their order.
    """
    order = np.random.default_rng(split.seed).permutation(total)
    if held_out == 0:
        return order, order
    if split.version == 1:
        return order[:-held_out], order[-held_out:]
    return np.sort(order[held_out:]), order[:held_out]


def _shard_rng(split: Split) -> Rng:
    """Deals the shards. For IID shards of version 2 a fresh generator of the same seed, as in the lab's scripts."""
    if split.version != 1 and split.regime == "iid":
        return np.random.default_rng(split.seed)
    return _rng(split, 1)


def _rng(split: Split, *stream: int) -> Rng:
    return np.random.default_rng([split.seed, *stream])


def _full(indices: np.ndarray, labels: np.ndarray, num_classes: int, split: Split, rng: Rng) -> list[np.ndarray]:
    return [indices] * split.num_shards


def _iid(indices: np.ndarray, labels: np.ndarray, num_classes: int, split: Split, rng: Rng) -> list[np.ndarray]:
    """The shared fraction first, then equal parts for each shard alone."""
    order = rng.permutation(indices)
    num_shared = round(len(order) * split.shared)
    shared, rest = order[:num_shared], order[num_shared:]
    return [np.concatenate([shared, own]) for own in np.array_split(rest, split.num_shards)]


def _class_shards(
    indices: np.ndarray, labels: np.ndarray, num_classes: int, split: Split, rng: Rng
) -> list[np.ndarray]:
    bounds = [shard * num_classes // split.num_shards for shard in range(split.num_shards + 1)]
    own = labels[indices]
    return [indices[(own >= low) & (own < high)] for low, high in pairwise(bounds)]


def _dirichlet(indices: np.ndarray, labels: np.ndarray, num_classes: int, split: Split, rng: Rng) -> list[np.ndarray]:
    dealt: list[list[np.ndarray]] = [[] for _ in range(split.num_shards)]
    for label in range(num_classes):
        own = rng.permutation(indices[labels[indices] == label])
        fractions = rng.dirichlet(np.full(split.num_shards, split.beta))
        bounds = np.rint(np.cumsum(fractions) * len(own)).astype(int)[:-1]
        for shard, piece in enumerate(np.split(own, bounds)):
            dealt[shard].append(piece)
    return [np.concatenate(pieces) for pieces in dealt]


Regime = Callable[[np.ndarray, np.ndarray, int, Split, Rng], list[np.ndarray]]
REGIMES: dict[str, Regime] = {"full": _full, "iid": _iid, "class_shards": _class_shards, "dirichlet": _dirichlet}


def _divide(indices: np.ndarray, labels: np.ndarray, split: Split, rng: Rng) -> SplitIndices:
    """Training and validation indices, each sorted, and the classes of both."""
    num_val = min(max(1, round(len(indices) * split.val)), len(indices) - 1)
    order = rng.permutation(indices)
    train, val = np.sort(order[num_val:]), np.sort(order[:num_val])
    return SplitIndices(train, val, tuple(int(label) for label in np.unique(labels[indices])))
