"""The tables of values that a preset, a fusion type or an architecture stands for."""

from __future__ import annotations

from dataclasses import dataclass

from core.spec.augmentation import Augmentation
from core.spec.models import FusionType
from core.spec.training import ComponentName, Optimizer, Schedule


@dataclass(frozen=True)
class FusionRecipe:
    """One fusion type: base learning rates, weight decay, augmentation and its label smoothing.

    `baseline` and `augmented` are the accuracies (percent, CIFAR-100) expected without and with the augmentation:
    they are logged as an expectation and never shown as a result.
    """

    lr_experts: float
    lr_fusion: float
    weight_decay: float
    augmentation: Augmentation
    label_smoothing: float
    baseline: tuple[int, int]
    augmented: tuple[int, int]


def _mixing(mixup_alpha: float, color: str, erasing: float, **options: object) -> Augmentation:
    return Augmentation.model_validate(
        {"color": color, "erasing": erasing, "mixup_alpha": mixup_alpha, "cutmix_alpha": 1.0, **options}
    )


_JITTER = _mixing(0.2, "ColorJitter", 0.25)
_RANDAUGMENT = _mixing(0.3, "RandAugment", 0.3, randaugment=(3, 14))
_TRIVIAL = _mixing(0.2, "TrivialAugmentWide", 0.25)

FUSION_RECIPES: dict[FusionType, FusionRecipe] = {
    "multiplicative": FusionRecipe(1e-4, 5e-4, 1e-4, _JITTER, 0.10, (80, 85), (82, 87)),
    "multiplicativeAddition": FusionRecipe(1e-4, 1e-3, 1e-4, _RANDAUGMENT, 0.08, (82, 87), (85, 90)),
    "multiplicativeShifted": FusionRecipe(1e-4, 5e-4, 1e-4, _JITTER, 0.10, (80, 85), (82, 87)),
    "TransformerBase": FusionRecipe(5e-5, 2e-4, 5e-4, _TRIVIAL, 0.05, (85, 90), (88, 93)),
    "concatenation": FusionRecipe(1e-4, 1e-3, 1e-4, _RANDAUGMENT, 0.08, (81, 86), (84, 89)),
    "simpleAddition": FusionRecipe(1e-4, 1e-3, 1e-4, _JITTER, 0.10, (80, 85), (83, 88)),
}


@dataclass(frozen=True)
class ComponentRecipe:
    """A component's values under a preset; `lr` None means by fusion type and dimension."""

    lr: float | None
    clip_norm: float
    accumulation_steps: int
    schedule: Schedule


@dataclass(frozen=True)
class PresetRecipe:
    """What a preset of the joint phase stands for; None in a field means by fusion type."""

    components: dict[ComponentName, ComponentRecipe]
    weight_decay: float | None
    clip_norm: float
    distillation_weight: float
    label_smoothing: float | None
    augmentation: Augmentation | None
    # Fusion types whose LayerNorms this preset leaves out.
    without_norm: tuple[FusionType, ...]


_RESTARTS = Schedule(type="CosineAnnealingWarmRestarts")
_COSINE = Schedule(type="CosineAnnealingLR")
_CONSTANT = Schedule()

PRESETS: dict[str, PresetRecipe] = {
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
        without_norm=(),
    ),
    "as_run": PresetRecipe(
        components={
            "experts": ComponentRecipe(1e-5, 0.0, 1, _CONSTANT),
            "fusion": ComponentRecipe(1e-3, 0.0, 1, _CONSTANT),
            "head": ComponentRecipe(1e-3, 0.0, 1, _CONSTANT),
        },
        weight_decay=1e-4,
        clip_norm=1.0,
        distillation_weight=0.0,
        label_smoothing=0.1,
        augmentation=Augmentation(cutmix_alpha=1.0),
        without_norm=("simpleAddition",),
    ),
}


def dimension_factors(input_dim: int) -> tuple[float, float]:
    """What the fused dimension does to the base rates: the factors for experts, and for fusion and head."""
    if input_dim < 100:
        return 1.3, 1.2
    if input_dim > 1000:
        return 0.7, 0.8
    return 1.0, 1.0


_TO_ZERO = Schedule(type="CosineAnnealingLR", min_lr_factor=0.0)


@dataclass(frozen=True)
class ExpertRecipe:
    """How one architecture is trained alone."""

    optimizer: Optimizer
    lr: float
    weight_decay: float
    epochs: int
    batch_size: int
    clip_norm: float
    dropout: float | None
    label_smoothing: float
    augmentation: Augmentation
    schedule: Schedule = _TO_ZERO


def _pretraining(
    batch_size: int,
    weight_decay: float,
    dropout: float | None,
    smoothing: float,
    color: str,
    erasing: float,
    **options: object,
) -> ExpertRecipe:
    """SGD with Nesterov momentum 0.9 at 0.1 to 0 by cosine over 250 epochs, CutMix 1.0, clip 1.0."""
    augmentation = _mixing(0.0, color, erasing, **options)
    return ExpertRecipe("sgd", 0.1, weight_decay, 250, batch_size, 1.0, dropout, smoothing, augmentation)


_RESNET = _pretraining(128, 1e-4, None, 0.1, "ColorJitter", 0.25)
_RESNEXT = _pretraining(128, 5e-4, 0.3, 0.05, "TrivialAugmentWide", 0.25)
_CONVNET = ExpertRecipe("adamw", 3e-3, 1e-4, 30, 64, 1.0, None, 0.0, Augmentation())
EXPERT_RECIPES: dict[str, ExpertRecipe] = {
    "resnet18": _RESNET,
    "densenet121": _pretraining(64, 1e-4, 0.2, 0.05, "RandAugment", 0.1, randaugment=(2, 9)),
    "wideresnet28_10": _pretraining(128, 5e-4, 0.3, 0.05, "RandAugment", 0.3, randaugment=(3, 14)),
    "resnext29_8x64d": _RESNEXT,
    "preact_resnext29_8x64d": _RESNEXT,
    "convnet_small": _CONVNET,
    "convnet_small_gn": _CONVNET,
}


def expert_recipe(arch: str) -> ExpertRecipe:
    """The recipe of an architecture; a timm backbone takes that of resnet18."""
    return EXPERT_RECIPES.get(arch, _RESNET)
