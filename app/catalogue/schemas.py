"""Architectures, fusion types and datasets as clients see them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class ExpertRecipeView(BaseModel):
    """The defaults by which an architecture is trained as a single expert."""

    optimizer: str
    lr: float
    epochs: int
    batch_size: int
    weight_decay: float
    augmentation: dict[str, Any]


class ArchitectureView(BaseModel):
    """An architecture; for families such as `timm:<name>` only `about` is given."""

    about: str
    feature_dim: int | None = None
    parameters_at_100_classes: int | None = None
    recipe: ExpertRecipeView | None = None


class FusionTypeView(BaseModel):
    """A fusion type: the options that it takes, and its defaults before the rule by dimension."""

    options: list[str]
    learning_rates: dict[str, float]
    weight_decay: float
    label_smoothing: float
    augmentation: dict[str, Any]


class DatasetView(BaseModel):
    """A dataset or a family of datasets; `put` says where its files belong if it is not available."""

    available: bool
    classes: int | None = None
    train: int | None = None
    test: int | None = None
    put: str | None = None
    about: str | None = None


class CatalogueView(BaseModel):
    """Everything that a job specification can name. `dimension_rule` has factors of the learning rates."""

    architectures: dict[str, ArchitectureView]
    fusion_types: dict[str, FusionTypeView]
    dimension_rule: dict[str, dict[str, float]]
    datasets: dict[str, DatasetView]
