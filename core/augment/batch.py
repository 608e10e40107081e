"""Augmentation of a whole batch on the device of its images.

B batch, C channels (classes in targets), H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.augment.erasing import draw_boxes, erase
from core.augment.geometry import crop_and_flip
from core.augment.mixing import apply_mix, draw_mix
from core.augment.policies import (
    apply_jitter,
    apply_stage,
    draw_jitter,
    draw_stages,
    randaugment_space,
    trivial_space,
)
from core.spec import Augmentation


def normalize(images_BCHW: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Converts pixel values from 0 to 255 to float32 with mean 0 and standard deviation 1.

    `mean` and `std` are by channel, of pixels scaled to [0, 1].
    """
    device = images_BCHW.device
    shape = (1, len(mean), 1, 1)
    scale = torch.tensor([1.0 / (255.0 * s) for s in std], dtype=torch.float32).reshape(shape)
    shift = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32).reshape(shape)
    return images_BCHW.to(torch.float32) * scale.to(device, non_blocking=True) - shift.to(device, non_blocking=True)


class BatchAugment:
    """Crop, flip, colour policy, normalisation, erasing and mixing according to a recipe.

    `mean` and `std` are by channel, of pixels scaled to [0, 1].
    """

    def __init__(self, recipe: Augmentation, *, mean: Sequence[float], std: Sequence[float], num_classes: int) -> None:
        self._recipe = recipe
        self._mean, self._std = tuple(mean), tuple(std)
        self._num_classes = num_classes

    def __call__(
        self,
        images_BCHW: Tensor,
        labels_B: Tensor,
        rng: np.random.Generator,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Maps uint8 images and int64 labels to float32 images and targets.

        Targets are class ids (B,), or class probabilities (B, C) if the batch was mixed. Everything random is drawn
        from `rng` on the host for the global batch, of which these images are the `rank`-th of `world_size` equal
        parts: the result is the same on every device and for every number of processes. Only mixing is confined to
        the images of one process.
        """
        recipe = self._recipe
        local_batch, (height, width) = len(images_BCHW), images_BCHW.shape[-2:]
        batch, rows = local_batch * world_size, slice(rank * local_batch, (rank + 1) * local_batch)
        if recipe.crop_padding or recipe.flip:
            padding = recipe.crop_padding
            top, left = rng.integers(2 * padding + 1, size=(2, batch))
            flip = rng.random(batch) < 0.5 if recipe.flip else np.zeros(batch, dtype=bool)
            images_BCHW = crop_and_flip(images_BCHW, padding, top[rows], left[rows], flip[rows])
        if recipe.color != "none":
            images_BCHW = self._color(images_BCHW.to(torch.float32), batch, rows, rng)
        images_BCHW = normalize(images_BCHW, self._mean, self._std)
        if recipe.erasing:
            images_BCHW = erase(images_BCHW, draw_boxes(recipe.erasing, batch, height, width, rng)[rows])
        mix = draw_mix(recipe.mixup_alpha, recipe.cutmix_alpha, height, width, rng)
        if mix is None:
            return images_BCHW, labels_B
        return apply_mix(images_BCHW, labels_B, mix, self._num_classes)

    def _color(self, images_BCHW: Tensor, batch: int, rows: slice, rng: np.random.Generator) -> Tensor:
        recipe = self._recipe
        height, width = images_BCHW.shape[-2:]
        if recipe.color == "ColorJitter":
            return apply_jitter(images_BCHW, draw_jitter(recipe.jitter, batch, rng).rows(rows))
        space = randaugment_space(height, width) if recipe.color == "RandAugment" else trivial_space(height, width)
        for stage in draw_stages(recipe.color, recipe.randaugment, batch, rng):
            images_BCHW = apply_stage(images_BCHW, stage.rows(rows), space)
        return images_BCHW
