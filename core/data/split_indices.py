"""The indices of a split, their checksum, and their file in the run directory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class SplitIndices:
    """Indices into the training set, for training and for validation, and the classes that occur."""

    train: np.ndarray
    val: np.ndarray
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Splits:
    """The images of every shard, and those of the fusion phase."""

    shards: tuple[SplitIndices, ...]
    fusion: SplitIndices

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of all indices and classes."""
        digest = hashlib.sha256()
        for part in (*self.shards, self.fusion):
            for indices in (part.train, part.val, np.array(part.classes)):
                digest.update(f"{len(indices)}:".encode())
                digest.update(indices.astype("<i8").tobytes())
        return digest.hexdigest()


def save_splits(splits: Splits, path: Path) -> None:
    """Writes the indices as an `.npz` file with their SHA-256."""
    arrays: dict[str, np.ndarray] = {"sha256": np.array(splits.sha256)}
    named = [*((f"shard_{shard}", part) for shard, part in enumerate(splits.shards)), ("fusion", splits.fusion)]
    for name, part in named:
        arrays |= {f"{name}_train": part.train, f"{name}_val": part.val, f"{name}_classes": np.array(part.classes)}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_splits(path: Path) -> Splits:
    """Reads a file of `save_splits`; raises ValueError that names the file if it is damaged."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = [f"shard_{shard}" for shard in range(sum(key.endswith("_train") for key in file.files) - 1)]
            parts = [
                SplitIndices(file[f"{name}_train"], file[f"{name}_val"], tuple(file[f"{name}_classes"].tolist()))
                for name in [*names, "fusion"]
            ]
            saved_sha256 = str(file["sha256"])
    except Exception as error:  # a damaged archive raises many types of errors
        raise ValueError(f"{path} cannot be read as saved splits: {type(error).__name__}") from None
    splits = Splits(tuple(parts[:-1]), parts[-1])
    if splits.sha256 != saved_sha256:
        raise ValueError(f"{path} does not match its own checksum")
    return splits
