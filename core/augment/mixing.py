"""MixUp (arXiv:1710.09412) and CutMix (arXiv:1905.04899): an image and its neighbour in the batch, and both labels.

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
    """One decision a batch: the share of the image itself, and for CutMix the box (top, bottom, left, right)."""

    share: float
    box: tuple[int, int, int, int] | None


def draw_mix(mixup_alpha: float, cutmix_alpha: float, height: int, width: int, rng: np.random.Generator) -> Mix | None:
    """MixUp or CutMix, each with probability one half where both are on; None where neither is."""
    if not mixup_alpha and not cutmix_alpha:
        return None
    cut = cutmix_alpha > 0 and (mixup_alpha == 0 or rng.random() < 0.5)
    alpha = cutmix_alpha if cut else mixup_alpha
    share = float(rng.beta(alpha, alpha))
    if not cut:
        return Mix(share, None)
    row, column = int(rng.integers(height)), int(rng.integers(width))
    reach = 0.5 * math.sqrt(1.0 - share)
    tall, wide = int(reach * height), int(reach * width)
    box = (max(row - tall, 0), min(row + tall, height), max(column - wide, 0), min(column + wide, width))
    # What was cut out is what counts, not what was drawn: the box may reach over the border.
    share = 1.0 - (box[1] - box[0]) * (box[3] - box[2]) / (height * width)
    return Mix(share, box)


def apply_mix(images_BCHW: Tensor, labels_B: Tensor, mix: Mix, num_classes: int) -> tuple[Tensor, Tensor]:
    """Images mixed with those one place before them, and targets (B, C) with the share of each class."""
    own_BC = F.one_hot(labels_B, num_classes).float()
    targets_BC = own_BC * mix.share + own_BC.roll(1, 0) * (1.0 - mix.share)
    if mix.box is None:
        return images_BCHW * mix.share + images_BCHW.roll(1, 0) * (1.0 - mix.share), targets_BC
    top, bottom, left, right = mix.box
    mixed = images_BCHW.clone()
    mixed[..., top:bottom, left:right] = images_BCHW.roll(1, 0)[..., top:bottom, left:right]
    return mixed, targets_BC
