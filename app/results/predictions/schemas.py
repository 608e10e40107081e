"""Comparisons of two models as the API shows them."""

from __future__ import annotations

from pydantic import BaseModel


class Scaled(BaseModel):
    """Calibration after the logits are divided by a temperature, which is fitted on `num_validation_images`."""

    temperature: float
    num_validation_images: int
    nll: float
    ece: float


class Model(BaseModel):
    """One path of a job: its accuracy with a 95 % interval, and its calibration.

    `nll` and `ece` are null for an expert that knows only some of the classes. `scaled` is null where no temperature
    can be fitted, and `not_scaled` says why. `low` and `high` are null only in the report of a job whose predictions
    are not stored.
    """

    job: str
    name: str
    path: str
    accuracy: float
    low: float | None
    high: float | None
    nll: float | None
    ece: float | None
    scaled: Scaled | None
    not_scaled: str | None


class Difference(BaseModel):
    """The accuracy of a minus that of b, with its paired 95 % interval, and the exact p value of McNemar.

    `only_a` and `only_b` count the images that one of the two alone classifies correctly.
    """

    value: float
    low: float
    high: float
    excludes_zero: bool
    only_a: int
    only_b: int
    p: float


class ClassAccuracy(BaseModel):
    """The accuracy of both on the images of one class; null for a class without images."""

    label: int
    num_images: int
    a: float | None
    b: float | None


class Comparison(BaseModel):
    """Two models on the same images. `sentence` says in plain words what the difference means.

    `disagreement` is the fraction of images for which they predict different classes, `oracle` the fraction that at
    least one of them classifies correctly.
    """

    sentence: str
    split: str
    dataset: str
    num_images: int
    a: Model
    b: Model
    difference: Difference
    disagreement: float
    oracle: float
    by_class: list[ClassAccuracy]
