"""What happens to a training batch, and the recipe of every fusion type and expert architecture."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.spec.fields import Fraction, NonNegative, SpecModel

ColorPolicy = Literal["none", "ColorJitter", "RandAugment", "TrivialAugmentWide"]
# Brightness, contrast, saturation, hue: each a largest relative change (hue: of the colour circle).
Jitter = Annotated[tuple[Fraction, Fraction, Fraction, Annotated[float, Field(ge=0.0, le=0.5)]], Field(strict=False)]
# Number of operations, and their magnitude out of 30.
RandAugment = Annotated[
    tuple[Annotated[int, Field(ge=1, le=10)], Annotated[int, Field(ge=0, le=30)]], Field(strict=False)
]
CropPadding = Annotated[int, Field(ge=0, le=64)]


class Augmentation(SpecModel):
    """Training-time augmentation; validation and test never see any. Order: crop, flip, colour policy, erasing, mixing.

    `crop_padding` is in pixels (reflect). `jitter` is (brightness, contrast, saturation, hue) and `randaugment` is
    (operations, magnitude out of 30), each used by the policy of that name. `erasing` is a probability. MixUp
    (arXiv:1710.09412) and CutMix (arXiv:1905.04899) alternate at random a batch where both alphas are above zero.
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
    """Single values that replace those of the recipe; what is not given keeps the recipe's value."""

    crop_padding: CropPadding | None = None
    flip: bool | None = None
    color: ColorPolicy | None = None
    jitter: Jitter | None = None
    randaugment: RandAugment | None = None
    erasing: Fraction | None = None
    mixup_alpha: NonNegative | None = None
    cutmix_alpha: NonNegative | None = None


NO_AUGMENTATION = Augmentation(crop_padding=0, flip=False)
