"""Which data a job sees, and how they are split between experts, fusion, validation and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, field_validator

from core.spec.fields import ONE_LINE, Fraction, Positive, Seed, SpecModel


@dataclass(frozen=True)
class DatasetKind:
    """One kind of dataset: the module of `core.data` that reads it, and whether its name is followed by `:<path>`."""

    module: str
    takes_path: bool = False


# A new dataset is a module in core/data with `load` and `describe`, and one row here.
DATASET_KINDS: dict[str, DatasetKind] = {
    "digits": DatasetKind("digits"),
    "cifar10": DatasetKind("cifar"),
    "cifar100": DatasetKind("cifar"),
    "imagefolder": DatasetKind("folder", takes_path=True),
    "npz": DatasetKind("npz", takes_path=True),
}
NAMED_DATASETS = tuple(name for name, kind in DATASET_KINDS.items() if not kind.takes_path)
PATH_DATASETS = tuple(name for name, kind in DATASET_KINDS.items() if kind.takes_path)

Regime = Literal["full", "iid", "class_shards", "dirichlet"]
SplitVersion = Literal[1, 2]
SPLIT_VERSION: SplitVersion = 2


class Split(SpecModel):
    """How the training set is divided. Every choice is a function of `seed`.

    First `holdout` (a fraction of the training set) is set aside for the fusion phase; the rest is dealt to
    `num_shards` experts by `regime`:

    - `full`: every expert sees all of it;
    - `iid`: a `shared` fraction that all see, and equal parts of the rest;
    - `class_shards`: shard i has the classes from i*C/K up to (i+1)*C/K;
    - `dirichlet`: each class is dealt in proportions drawn from Dirichlet(`beta`) (arXiv:1909.06335).

    `holdout` 0 is for `full` alone: both phases then see the whole training set. `val` is the fraction of each phase's
    own images that selects checkpoints. `version` 2 (the default) holds out the first images of the seed's permutation;
    1 holds out the last ones and is kept for runs that began before version 2 existed.
    """

    regime: Regime = "full"
    num_shards: Annotated[int, Field(ge=1, le=1000)] = 1
    holdout: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    shared: Fraction = 0.4
    beta: Positive = 0.5
    val: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    seed: Seed = 42
    version: SplitVersion | None = None


def default_holdout(regime: Regime) -> float:
    """The fraction of the training set that is held out for the fusion phase unless a split says otherwise."""
    return 0.0 if regime == "full" else 0.2


# In JSON schema, what DatasetSpec's validator checks.
_NAME_SCHEMA: dict[str, JsonValue] = {
    "pattern": rf"^({'|'.join(NAMED_DATASETS)}|({'|'.join(PATH_DATASETS)}):[^\x00-\x1f\x7f]+)$"
}


class DatasetSpec(SpecModel):
    """A dataset: `digits`, `cifar10`, `cifar100`, `imagefolder:<path>` or `npz:<path>`.

    `image_size` applies to image folders only, whose images are resized to one size (square, in pixels). The arrays of
    an npz file may take at most 4 GiB uncompressed, and at most 100 times the size of the file.
    """

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=4096, pattern=ONE_LINE), Field(json_schema_extra=_NAME_SCHEMA)
    ] = "digits"
    split: Split = Split()
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None

    def image_size_error(self) -> str | None:
        """One sentence if `image_size` is given for images of a fixed size; stored jobs of earlier versions may."""
        kind = self.name.partition(":")[0]
        if self.image_size is None or kind == "imagefolder":
            return None
        return f"image_size applies to image folders only; the images of {kind} have a fixed size: remove it"

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        kind, colon, path = name.partition(":")
        if name in NAMED_DATASETS or (kind in PATH_DATASETS and colon and path):
            return name
        allowed = [*NAMED_DATASETS, *(f"{kind}:<path>" for kind in PATH_DATASETS)]
        raise ValueError(f"choose one of {', '.join(allowed)}")
