"""Augmentation of training batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.spec.fields import Fraction, NonNegative, SpecModel

ColorPolicy = Literal["none", "ColorJitter", "RandAugment", "TrivialAugmentWide"]
# Largest relative change of brightness, contrast and saturation; largest hue shift as a fraction of the colour circle.
Jitter = Annotated[tuple[Fraction, Fraction, Fraction, Annotated[float, Field(ge=0.0, le=0.5)]], Field(strict=False)]
# Number of operations, and their magnitude from 0 to 30.
RandAugment = Annotated[
    tuple[Annotated[int, Field(ge=1, le=10)], Annotated[int, Field(ge=0, le=30)]], Field(strict=False)
]
CropPadding = Annotated[int, Field(ge=0, le=64)]


class Augmentation(SpecModel):
    """Augmentation of training images, never of validation or test images.

    Applied in this order: crop, flip, colour policy, normalisation, erasing, mixing. `crop_padding` is in pixels
    (reflected). `jitter` is (brightness, contrast, saturation, hue) and `randaugment` (operations, magnitude of 30);
    each is used by the colour policy of that name. `erasing` is a probability per image. Where both alphas are above
    zero, each batch is mixed by MixUp (arXiv:1710.09412) or CutMix (arXiv:1905.04899), chosen at random.
    """

    crop_padding: CropPadding = 4
    flip: bool = True
    color: ColorPolicy = "none"
    jitter: Jitter = (0.2, 0.2, 0.2, 0.1)
    randaugment: RandAugment = (2, 9)
    erasing: Fraction = 0.0
    mixup_alpha: NonNegative = 0.0
    cutmix_alpha: NonNegative = 0.0


class AugmentationOverride(SpecModel):
    """Values that replace those of the recipe; a null field keeps the recipe's value."""

    crop_padding: CropPadding | None = None
    flip: bool | None = None
    color: ColorPolicy | None = None
    jitter: Jitter | None = None
    randaugment: RandAugment | None = None
    erasing: Fraction | None = None
    mixup_alpha: NonNegative | None = None
    cutmix_alpha: NonNegative | None = None


NO_AUGMENTATION = Augmentation(crop_padding=0, flip=False)
