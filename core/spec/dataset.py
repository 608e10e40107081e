"""Which data a job sees, and how they are split between experts, fusion, validation and test."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, field_validator

from core.spec.fields import ONE_LINE, Fraction, Positive, Seed, SpecModel

NAMED_DATASETS = ("digits", "cifar10", "cifar100")
PATH_DATASETS = ("imagefolder", "npz")

Regime = Literal["full", "iid", "class_shards", "dirichlet"]


class Split(SpecModel):
    """How the training set is divided. Every choice is a function of `seed`.

    First `holdout` (a fraction of the training set) is set aside for the fusion phase; what is left is dealt to
    `num_shards` experts by `regime`:

    - `full`: every expert sees all of it;
    - `iid`: a `shared` fraction that all see, and equal parts of the rest;
    - `class_shards`: shard i has the classes from i*C/K up to (i+1)*C/K;
    - `dirichlet`: each class is dealt in proportions drawn from Dirichlet(`beta`) (arXiv:1909.06335).

    `holdout` 0 is for `full` alone: both phases then see the whole training set. `val` is the fraction of each phase's
    own part that chooses checkpoints.
    """

    regime: Regime = "full"
    num_shards: Annotated[int, Field(ge=1, le=1000)] = 1
    holdout: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    shared: Fraction = 0.4
    beta: Positive = 0.5
    val: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    seed: Seed = 42


# In JSON schema, what DatasetSpec's validator checks.
_NAME_SCHEMA: dict[str, JsonValue] = {
    "pattern": rf"^({'|'.join(NAMED_DATASETS)}|({'|'.join(PATH_DATASETS)}):[^\x00-\x1f\x7f]+)$"
}


class DatasetSpec(SpecModel):
    """A data set: `digits`, `cifar10`, `cifar100`, `imagefolder:<path>` or `npz:<path>`.

    `image_size` is for image folders alone, whose pictures are brought to one size (square, in pixels).
    """

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=4096, pattern=ONE_LINE), Field(json_schema_extra=_NAME_SCHEMA)
    ] = "digits"
    split: Split = Split()
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        kind, colon, path = name.partition(":")
        if name in NAMED_DATASETS or (kind in PATH_DATASETS and colon and path):
            return name
        raise ValueError("choose one of digits, cifar10, cifar100, imagefolder:<path>, npz:<path>")
