"""MixUp (arXiv:1710.09412) and CutMix (arXiv:1905.04899).

B batch, C classes (channels in images), H height, W width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """How one batch is mixed.

    `lam` is the weight of an image's own label, 0 to 1. `box` is (top, bottom, left, right) for CutMix, None for MixUp.
    """

    lam: float
    box: tuple[int, int, int, int] | None


def draw_mix(mixup_alpha: float, cutmix_alpha: float, height: int, width: int, rng: np.random.Generator) -> Mix | None:
    """Draws MixUp or CutMix, with equal probability if both alphas are positive; None if neither is."""
    if not mixup_alpha and not cutmix_alpha:
        return None
    cut = cutmix_alpha > 0 and (mixup_alpha == 0 or rng.random() < 0.5)
    alpha = cutmix_alpha if cut else mixup_alpha
    lam = float(rng.beta(alpha, alpha))
    if not cut:
        return Mix(lam, None)
    row, column = int(rng.integers(height)), int(rng.integers(width))
    half_side = 0.5 * math.sqrt(1.0 - lam)
    half_height, half_width = int(half_side * height), int(half_side * width)
    top, bottom = max(row - half_height, 0), min(row + half_height, height)
    left, right = max(column - half_width, 0), min(column + half_width, width)
    # The box is clipped at the border, so lam follows from its actual area.
    return Mix(1.0 - (bottom - top) * (right - left) / (height * width), (top, bottom, left, right))


def apply_mix(images_BCHW: Tensor, labels_B: Tensor, mix: Mix, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mixes each image with the previous one of the batch; targets are class probabilities (B, C)."""
    one_hot_BC = F.one_hot(labels_B, num_classes).float()
    targets_BC = one_hot_BC * mix.lam + one_hot_BC.roll(1, 0) * (1.0 - mix.lam)
    if mix.box is None:
        return images_BCHW * mix.lam + images_BCHW.roll(1, 0) * (1.0 - mix.lam), targets_BC
    top, bottom, left, right = mix.box
    mixed = images_BCHW.clone()
    mixed[..., top:bottom, left:right] = images_BCHW.roll(1, 0)[..., top:bottom, left:right]
    return mixed, targets_BC
