"""Dividing a training set: a hold-out for the fusion phase, shards for the experts, validation in each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from core.spec import Split

Rng = np.random.Generator


@dataclass(frozen=True)
class SplitIndices:
    """Indices into the training set to train on and to validate with, and the classes that occur."""

    train: np.ndarray
    val: np.ndarray
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Splits:
    """A part for every shard, a part for the fusion phase, and the SHA-256 of them all."""

    shards: tuple[SplitIndices, ...]
    fusion: SplitIndices
    sha256: str


def make_splits(labels: np.ndarray, num_classes: int, split: Split) -> Splits:
    """Divides images with these labels; a function of the labels and the specification alone.

    Raises ValueError for what is impossible: more shards than classes, a shard or a hold-out with nothing to train on.
    """
    total = len(labels)
    holdout = split.holdout if split.holdout is not None else (0.0 if split.regime == "full" else 0.2)
    order = np.random.default_rng(split.seed).permutation(total)
    held_out = round(total * holdout)
    if held_out == 0 and split.regime != "full":
        raise ValueError(
            f"holdout {holdout:g} of {total:,} images leaves none for the fusion phase; "
            f"regime {split.regime} needs some (only full may share the data between both phases)"
        )
    expert_part, fusion_part = (order, order) if held_out == 0 else (order[:-held_out], order[-held_out:])
    shards = REGIMES[split.regime](expert_part, labels, num_classes, split, _rng(split, 1))
    parts = tuple(
        _part(indices, labels, split, _rng(split, 2, shard), f"shard {shard} (regime {split.regime})")
        for shard, indices in enumerate(shards)
    )
    fusion = _part(fusion_part, labels, split, _rng(split, 3), f"the fusion phase (holdout {holdout:g})")
    return Splits(parts, fusion, _sha256(parts, fusion))


def _rng(split: Split, *stream: int) -> Rng:
    return np.random.default_rng([split.seed, *stream])


def _full(indices: np.ndarray, labels: np.ndarray, num_classes: int, split: Split, rng: Rng) -> list[np.ndarray]:
    return [indices] * split.num_shards


def _iid(indices: np.ndarray, labels: np.ndarray, num_classes: int, split: Split, rng: Rng) -> list[np.ndarray]:
    order = rng.permutation(indices)
    num_shared = round(len(order) * split.shared)
    shared, rest = order[:num_shared], order[num_shared:]
    return [np.concatenate([shared, own]) for own in np.array_split(rest, split.num_shards)]


def _class_shards(
    indices: np.ndarray, labels: np.ndarray, num_classes: int, split: Split, rng: Rng
) -> list[np.ndarray]:
    if split.num_shards > num_classes:
        raise ValueError(
            f"class_shards deals whole classes: {split.num_shards} shards of {num_classes} classes is impossible"
        )
    bounds = [shard * num_classes // split.num_shards for shard in range(split.num_shards + 1)]
    own = labels[indices]
    return [indices[(own >= low) & (own < high)] for low, high in pairwise(bounds)]


def _dirichlet(indices: np.ndarray, labels: np.ndarray, num_classes: int, split: Split, rng: Rng) -> list[np.ndarray]:
    dealt: list[list[np.ndarray]] = [[] for _ in range(split.num_shards)]
    for label in range(num_classes):
        own = rng.permutation(indices[labels[indices] == label])
        shares = rng.dirichlet(np.full(split.num_shards, split.beta))
        bounds = np.rint(np.cumsum(shares) * len(own)).astype(int)[:-1]
        for shard, piece in enumerate(np.split(own, bounds)):
            dealt[shard].append(piece)
    return [np.concatenate(pieces) for pieces in dealt]


Regime = Callable[[np.ndarray, np.ndarray, int, Split, Rng], list[np.ndarray]]
REGIMES: dict[str, Regime] = {"full": _full, "iid": _iid, "class_shards": _class_shards, "dirichlet": _dirichlet}


def _part(indices: np.ndarray, labels: np.ndarray, split: Split, rng: Rng, what: str) -> SplitIndices:
    if len(indices) < 2:
        raise ValueError(f"{what} has {len(indices)} images; at least 2 are needed, one of them for validation")
    num_val = min(max(1, round(len(indices) * split.val)), len(indices) - 1)
    order = rng.permutation(indices)
    train, val = np.sort(order[num_val:]), np.sort(order[:num_val])
    return SplitIndices(train, val, tuple(int(label) for label in np.unique(labels[indices])))


def _sha256(shards: tuple[SplitIndices, ...], fusion: SplitIndices) -> str:
    digest = hashlib.sha256()
    for part in (*shards, fusion):
        for indices in (part.train, part.val, np.array(part.classes)):
            digest.update(f"{len(indices)}:".encode())
            digest.update(indices.astype("<i8").tobytes())
    return digest.hexdigest()


def save_splits(splits: Splits, path: Path) -> None:
    """Writes the indices as an `.npz` file with their SHA-256."""
    arrays: dict[str, np.ndarray] = {"sha256": np.array(splits.sha256)}
    for name, part in [*((f"shard_{i}", part) for i, part in enumerate(splits.shards)), ("fusion", splits.fusion)]:
        arrays |= {f"{name}_train": part.train, f"{name}_val": part.val, f"{name}_classes": np.array(part.classes)}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_splits(path: Path) -> Splits:
    """Reads what `save_splits` wrote; raises ValueError naming the file where it is not that any more."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = [f"shard_{i}" for i in range(sum(key.endswith("_train") for key in file.files) - 1)]
            parts = [
                SplitIndices(file[f"{name}_train"], file[f"{name}_val"], tuple(file[f"{name}_classes"].tolist()))
                for name in [*names, "fusion"]
            ]
            saved = str(file["sha256"])
    except Exception as error:  # a damaged archive fails in many ways
        raise ValueError(f"{path} cannot be read as saved splits: {type(error).__name__}") from None
    shards, fusion = tuple(parts[:-1]), parts[-1]
    if _sha256(shards, fusion) != saved:
        raise ValueError(f"{path} does not match its own checksum")
    return Splits(shards, fusion, saved)
