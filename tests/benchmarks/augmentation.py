"""Augmentation of whole batches against torchvision's transforms image by image, both on one core or on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from core.augment import BatchAugment
from core.spec import FUSION_TYPES, Augmentation
from tests.benchmarks.sidebyside import Row, compare

BATCH = 128
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def recipes(device: torch.device) -> list[Row]:
    """The recipe of one fusion type for each colour policy; torchvision always runs on the CPU, as in a DataLoader."""
    rows = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (BATCH, 3, 32, 32), dtype=np.uint8))
    labels = torch.arange(BATCH) % 100
    here, there = images.to(device), labels.to(device)
    for fusion_type in ("multiplicative", "concatenation", "TransformerBase"):
        recipe = FUSION_TYPES[fusion_type].recipe.augmentation
        augment = BatchAugment(recipe, mean=MEAN, std=STD, num_classes=100)
        rng = np.random.default_rng(0)
        what = f"augmentation of {fusion_type} ({recipe.color}) / torchvision"
        rows.append(
            compare(
                what,
                lambda augment=augment, rng=rng: augment(here, there, rng),  # type: ignore[misc]
                torchvision_pipeline(recipe, images, labels),
                rounds=15,
                wanted=3.0,
                unit_count=BATCH,
            )
        )
    torch.set_num_threads(threads)
    return rows


def torchvision_pipeline(recipe: Augmentation, images: Tensor, labels: Tensor) -> Any:
    """The same recipe in torchvision's own transforms, an image at a time; mixing by batch."""
    policies = {
        "ColorJitter": lambda: v2.ColorJitter(*recipe.jitter),
        "RandAugment": lambda: v2.RandAugment(*recipe.randaugment, num_magnitude_bins=31),
        "TrivialAugmentWide": lambda: v2.TrivialAugmentWide(),
    }
    one = v2.Compose(
        [
            v2.RandomCrop(32, padding=recipe.crop_padding, padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
            policies[recipe.color](),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
            v2.RandomErasing(recipe.erasing),
        ]
    )
    mix = v2.RandomChoice(
        [v2.MixUp(alpha=recipe.mixup_alpha, num_classes=100), v2.CutMix(alpha=recipe.cutmix_alpha, num_classes=100)]
    )

    def pipeline() -> Any:
        return mix(torch.stack([one(image) for image in images]), labels)

    return pipeline
