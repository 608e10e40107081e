"""The catalogue: every architecture, fusion type and named dataset, one row each, without importing torch.

A new architecture or fusion type is one file with its class and one row here. Tests hold the facts to the models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from core.spec.augmentation import Augmentation, ColorPolicy
from core.spec.recipes import ExpertRecipe, FusionRecipe
from core.spec.training import Schedule


@dataclass(frozen=True)
class ArchitectureInfo:
    """An expert architecture.

    `implementation` is its class as `module:Class`, called with (num_classes, in_channels), the keyword arguments
    `arguments` and the options named in `options`. `feature_dim` and `parameters` are for 3-channel 32 px images and
    100 classes. Where `feature_dim` is an option, it is a multiple of `feature_dim_step`.
    """

    implementation: str
    feature_dim: int
    parameters: int
    about: str
    recipe: ExpertRecipe
    options: tuple[Literal["dropout", "feature_dim"], ...] = ()
    arguments: Mapping[str, object] = field(default_factory=dict)
    feature_dim_step: int = 1


@dataclass(frozen=True)
class FusionTypeInfo:
    """A fusion type.

    `implementation` is its class as `module:Class`; `options` are the fields of FusionOptions that only this and a few
    other types have.
    """

    implementation: str
    recipe: FusionRecipe
    options: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


def _augmentation(
    color: ColorPolicy, erasing: float, mixup_alpha: float = 0.0, randaugment: tuple[int, int] = (2, 9)
) -> Augmentation:
    return Augmentation(
        color=color, erasing=erasing, randaugment=randaugment, mixup_alpha=mixup_alpha, cutmix_alpha=1.0
    )


def _sgd(
    batch_size: int, weight_decay: float, dropout: float | None, label_smoothing: float, augmentation: Augmentation
) -> ExpertRecipe:
    """SGD with Nesterov momentum 0.9, 250 epochs, learning rate 0.1 annealed to 0, CutMix 1.0, clip 1.0."""
    schedule = Schedule(type="CosineAnnealingLR", min_lr_factor=0.0)
    return ExpertRecipe(
        "sgd", 0.1, weight_decay, 250, batch_size, 1.0, dropout, label_smoothing, augmentation, schedule
    )


_RESNET = _sgd(128, 1e-4, None, 0.1, _augmentation("ColorJitter", 0.25))
_DENSENET = _sgd(64, 1e-4, 0.2, 0.05, _augmentation("RandAugment", 0.1))
_WIDERESNET = _sgd(128, 5e-4, 0.3, 0.05, _augmentation("RandAugment", 0.3, randaugment=(3, 14)))
_RESNEXT = _sgd(128, 5e-4, 0.3, 0.05, _augmentation("TrivialAugmentWide", 0.25))
_CONVNET = ExpertRecipe(
    "adamw", 3e-3, 1e-4, 30, 64, 1.0, None, 0.0, Augmentation(), Schedule(type="CosineAnnealingLR", min_lr_factor=0.0)
)

ARCHITECTURES: dict[str, ArchitectureInfo] = {
    "resnet18": ArchitectureInfo(
        "core.experts.resnet:ResNet18",
        512,
        11_220_132,
        "ResNet-18, 3x3 stem; option feature_dim, a multiple of 8, which widens every stage",
        _RESNET,
        options=("feature_dim",),
        feature_dim_step=8,
    ),
    "densenet121": ArchitectureInfo(
        "core.experts.densenet:DenseNet121",
        1024,
        7_048_676,
        "DenseNet-121, growth rate 32; option dropout",
        _DENSENET,
        options=("dropout",),
    ),
    "wideresnet28_10": ArchitectureInfo(
        "core.experts.wideresnet:WideResNet28x10",
        640,
        36_536_884,
        "WideResNet-28-10; options dropout, and feature_dim, a multiple of 4: 64 times the widening factor",
        _WIDERESNET,
        options=("dropout", "feature_dim"),
        feature_dim_step=4,
    ),
    "preact_resnext29_8x64d": ArchitectureInfo(
        "core.experts.resnext:ResNeXt29",
        1024,
        34_515_364,
        "ResNeXt-29 8x64d, pre-activation; option dropout",
        _RESNEXT,
        options=("dropout",),
        arguments={"preact": True},
    ),
    "resnext29_8x64d": ArchitectureInfo(
        "core.experts.resnext:ResNeXt29",
        1024,
        34_518_948,
        "ResNeXt-29 8x64d; option dropout",
        _RESNEXT,
        options=("dropout",),
        arguments={"preact": False},
    ),
    "convnet_small": ArchitectureInfo(
        "core.experts.convnet:ConvNetSmall",
        64,
        37_908,
        "for demonstrations and tests, images of 8 px and more; option feature_dim",
        _CONVNET,
        options=("feature_dim",),
        arguments={"norm": "batch"},
    ),
    "convnet_small_gn": ArchitectureInfo(
        "core.experts.convnet:ConvNetSmall",
        64,
        37_908,
        "convnet_small with GroupNorm; option feature_dim",
        _CONVNET,
        options=("feature_dim",),
        arguments={"norm": "group"},
    ),
}


def expert_recipe(arch: str) -> ExpertRecipe:
    """Recipe of an architecture; timm backbones use that of resnet18."""
    info = ARCHITECTURES.get(arch)
    return info.recipe if info else _RESNET


_JITTER = _augmentation("ColorJitter", 0.25, mixup_alpha=0.2)
_RANDAUGMENT = _augmentation("RandAugment", 0.3, mixup_alpha=0.3, randaugment=(3, 14))
_TRIVIAL = _augmentation("TrivialAugmentWide", 0.25, mixup_alpha=0.2)

FUSION_TYPES: dict[str, FusionTypeInfo] = {
    "multiplicative": FusionTypeInfo(
        "core.fusion.multiplicative:Multiplicative",
        FusionRecipe(1e-4, 5e-4, 1e-4, _JITTER, 0.10, (80, 85), (82, 87)),
    ),
    "multiplicativeAddition": FusionTypeInfo(
        "core.fusion.multiplicative_addition:MultiplicativeAddition",
        FusionRecipe(1e-4, 1e-3, 1e-4, _RANDAUGMENT, 0.08, (82, 87), (85, 90)),
        options=("weights",),
    ),
    "multiplicativeShifted": FusionTypeInfo(
        "core.fusion.multiplicative_shifted:MultiplicativeShifted",
        FusionRecipe(1e-4, 5e-4, 1e-4, _JITTER, 0.10, (80, 85), (82, 87)),
    ),
    "TransformerBase": FusionTypeInfo(
        "core.fusion.transformer_base:TransformerBase",
        FusionRecipe(5e-5, 2e-4, 5e-4, _TRIVIAL, 0.05, (85, 90), (88, 93)),
        options=("encoder", "encoder_dropout", "heads"),
    ),
    "concatenation": FusionTypeInfo(
        "core.fusion.concatenation:Concatenation",
        FusionRecipe(1e-4, 1e-3, 1e-4, _RANDAUGMENT, 0.08, (81, 86), (84, 89)),
    ),
    "simpleAddition": FusionTypeInfo(
        "core.fusion.simple_addition:SimpleAddition",
        FusionRecipe(1e-4, 1e-3, 1e-4, _JITTER, 0.10, (80, 85), (83, 88)),
        options=("weights",),
        aliases=("additive",),
    ),
}


@dataclass(frozen=True)
class DatasetFacts:
    """A named dataset: its size, and the folder, or archive of it, to put under a data root (None: built in).

    Images are square, with `channels` channels and `image_size` pixels per side.
    """

    classes: int
    train: int
    test: int
    folder: str | None = None
    archive: str | None = None
    channels: int = 3
    image_size: int = 32


DATASET_FACTS: dict[str, DatasetFacts] = {
    "digits": DatasetFacts(10, 1_437, 360, channels=1, image_size=8),
    "cifar10": DatasetFacts(10, 50_000, 10_000, "cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar100": DatasetFacts(100, 50_000, 10_000, "cifar-100-python", "cifar-100-python.tar.gz"),
}
