"""Recipes: the values that a preset, a fusion type or an architecture stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from core.spec.augmentation import Augmentation
from core.spec.training import ComponentName, Optimizer, Preset, Schedule

SumWeights = Literal["softmax", "none"]
HeadType = Literal["linear", "mlp"]


@dataclass(frozen=True)
class FusionRecipe:
    """How models with one fusion type are trained jointly.

    `baseline` and `augmented` are the CIFAR-100 accuracies (percent) expected without and with the augmentation. They
    are logged as an expectation and never shown as a result.
    """

    lr_experts: float
    lr_fusion: float
    weight_decay: float
    augmentation: Augmentation
    label_smoothing: float
    baseline: tuple[int, int]
    augmented: tuple[int, int]


@dataclass(frozen=True)
class ExpertRecipe:
    """How one architecture is trained alone; `dropout` None is for architectures without dropout."""

    optimizer: Optimizer
    lr: float
    weight_decay: float
    epochs: int
    batch_size: int
    clip_norm: float
    dropout: float | None
    label_smoothing: float
    augmentation: Augmentation
    schedule: Schedule


@dataclass(frozen=True)
class ComponentRecipe:
    """Policy of one component under a preset; `lr` None means by fusion type and input dimension."""

    lr: float | None
    clip_norm: float
    accumulation_steps: int
    schedule: Schedule


@dataclass(frozen=True)
class PresetRecipe:
    """A preset of the joint phase. None in a field means by fusion type.

    `without_norm` lists the fusion types that have no LayerNorm under this preset, `without_dropout` the architectures
    whose dropout it switches off. `encoder_dropout` None means the dropout of the fusion module.
    """

    components: dict[ComponentName, ComponentRecipe]
    weight_decay: float | None
    clip_norm: float
    distillation_weight: float
    label_smoothing: float | None
    augmentation: Augmentation | None
    without_norm: tuple[str, ...] = ()
    without_dropout: tuple[str, ...] = ()
    sum_weights: SumWeights = "softmax"
    encoder_dropout: float | None = None
    head_type: HeadType = "linear"


def _as_run(lr_experts: float, lr_fusion: float) -> dict[ComponentName, ComponentRecipe]:
    return {
        "experts": ComponentRecipe(lr_experts, 0.0, 1, _CONSTANT),
        "fusion": ComponentRecipe(lr_fusion, 0.0, 1, _CONSTANT),
        "head": ComponentRecipe(lr_fusion, 0.0, 1, _CONSTANT),
    }


_RESTARTS = Schedule(type="CosineAnnealingWarmRestarts")
_COSINE = Schedule(type="CosineAnnealingLR")
_CONSTANT = Schedule()

_AS_RUN = PresetRecipe(
    components=_as_run(lr_experts=1e-5, lr_fusion=1e-3),
    weight_decay=1e-4,
    clip_norm=1.0,
    distillation_weight=0.0,
    label_smoothing=0.1,
    augmentation=Augmentation(color="RandAugment", randaugment=(2, 9), erasing=0.1, cutmix_alpha=1.0),
    without_norm=("simpleAddition",),
    without_dropout=("densenet121",),
)

PRESETS: dict[Preset, PresetRecipe] = {
    "readme": PresetRecipe(
        components={
            "experts": ComponentRecipe(None, 5.0, 2, _RESTARTS),
            "fusion": ComponentRecipe(None, 1.0, 1, _COSINE),
            "head": ComponentRecipe(None, 1.0, 1, _COSINE),
        },
        weight_decay=None,
        clip_norm=0.0,
        distillation_weight=0.1,
        label_smoothing=None,
        augmentation=None,
    ),
    "as_run": _AS_RUN,
    "as_run_non_iid": replace(
        _AS_RUN,
        components=_as_run(lr_experts=1e-5, lr_fusion=1e-4),
        clip_norm=0.0,
        label_smoothing=0.0,
        augmentation=Augmentation(color="RandAugment", randaugment=(2, 9), erasing=0.1),
        sum_weights="none",
        encoder_dropout=0.1,
        head_type="mlp",
    ),
}

HEAD_DROPOUT = 0.5


def preset_dropout(preset: Preset, arch: str | None) -> float | None:
    """Dropout that a preset prescribes for an architecture; None where it prescribes nothing."""
    return 0.0 if arch in PRESETS[preset].without_dropout else None


def dimension_factors(input_dim: int) -> tuple[float, float]:
    """Factors of the base learning rates for a fused dimension: of the experts, and of fusion and head."""
    if input_dim < 100:
        return 1.3, 1.2
    if input_dim > 1000:
        return 0.7, 0.8
    return 1.0, 1.0
