"""Colour policies: ColorJitter, RandAugment (arXiv:1909.13719), TrivialAugmentWide (arXiv:2103.10158).

B batch. What is done to which image is drawn on the host, so that images of one operation are handled together without
asking the device anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.augment import color
from core.augment.geometry import affine_matrices, warp

NUM_BINS = 31
_GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_FACTORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Brightness": color.brightness,
    "Color": color.saturation,
    "Contrast": color.contrast,
    "Sharpness": color.sharpness,
}
_LEVELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"Posterize": color.posterize, "Solarize": color.solarize}
_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {"AutoContrast": color.autocontrast, "Equalize": color.equalize}
OPS = ("Identity", *_GEOMETRIC, *_FACTORS, *_LEVELS, *_PLAIN)


@dataclass(frozen=True)
class Space:
    """The magnitudes of a policy: the largest of every signed operation, and the bits that posterizing takes away."""

    shear: float
    translate_x: float
    translate_y: float
    rotate: float
    factor: float
    posterize_bits: int

    def magnitudes(self, op: str, bins: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """The magnitudes of one operation for bins 0 to 30 and signs -1 or 1."""
        share: np.ndarray = bins / (NUM_BINS - 1)
        signed: np.ndarray = share * signs
        match op:
            case "ShearX" | "ShearY":
                return np.asarray(signed * self.shear)
            case "TranslateX":
                return np.asarray(signed * self.translate_x)
            case "TranslateY":
                return np.asarray(signed * self.translate_y)
            case "Rotate":
                return np.asarray(signed * self.rotate)
            case "Posterize":
                return 8.0 - np.rint(bins / ((NUM_BINS - 1) / self.posterize_bits))
            case "Solarize":
                return 1.0 - share
            case _:
                return np.asarray(1.0 + signed * self.factor)


def randaugment_space(height: int, width: int) -> Space:
    """RandAugment's magnitudes for images of this size; translations scale with it."""
    return Space(0.3, 150.0 / 331.0 * width, 150.0 / 331.0 * height, 30.0, 0.9, 4)


def trivial_space(height: int, width: int) -> Space:
    """TrivialAugmentWide's magnitudes."""
    return Space(0.99, 32.0, 32.0, 135.0, 0.99, 6)


@dataclass(frozen=True)
class Stage:
    """One operation an image: its index in `OPS`, bin and sign."""

    ops: np.ndarray
    bins: np.ndarray
    signs: np.ndarray

    def rows(self, rows: slice) -> Stage:
        """The choice for some of the images."""
        return Stage(self.ops[rows], self.bins[rows], self.signs[rows])


def draw_stages(policy: str, randaugment: tuple[int, int], batch: int, rng: np.random.Generator) -> list[Stage]:
    """The operations of RandAugment (operations, magnitude) or of TrivialAugmentWide (one, of any magnitude)."""
    num_ops, magnitude = randaugment if policy == "RandAugment" else (1, -1)
    return [
        Stage(
            rng.integers(len(OPS), size=batch),
            np.full(batch, magnitude) if magnitude >= 0 else rng.integers(NUM_BINS, size=batch),
            rng.choice(np.array([-1.0, 1.0]), size=batch),
        )
        for _ in range(num_ops)
    ]


def apply_stage(images: Tensor, stage: Stage, space: Space) -> Tensor:
    """Does every image's operation; images are float32 grey levels (B, C, H, W)."""
    height, width = images.shape[-2:]
    result = images.clone()
    geometric_rows, matrices = [], []
    for index, op in enumerate(OPS):
        (rows,) = np.nonzero(stage.ops == index)
        if len(rows) == 0 or op == "Identity":
            continue
        magnitude = space.magnitudes(op, stage.bins[rows], stage.signs[rows])
        if op in _GEOMETRIC:
            geometric_rows.append(rows)
            matrices.append(affine_matrices(op, magnitude, height, width))
            continue
        places = _send(rows, images.device)
        chosen = images[places]
        if op in _PLAIN:
            changed = _PLAIN[op](chosen)
        else:
            amount = _send(magnitude.astype(np.float32), images.device).reshape(-1, 1, 1, 1)
            changed = (_FACTORS | _LEVELS)[op](chosen, amount)
        result[places] = changed
    if geometric_rows:
        places = _send(np.concatenate(geometric_rows), images.device)
        result[places] = warp(images[places], np.concatenate(matrices))
    return result


JITTER_OPS = (color.brightness, color.contrast, color.saturation, color.hue)


@dataclass(frozen=True)
class JitterDraw:
    """The order of the four changes for the batch, and each image's factors (4, B); the last row shifts the hue."""

    order: np.ndarray
    factors: np.ndarray


def draw_jitter(jitter: tuple[float, float, float, float], batch: int, rng: np.random.Generator) -> JitterDraw:
    """Factors from 1 - x to 1 + x (never below 0) for brightness, contrast and saturation; hue from -x to x."""
    center = np.array([1.0, 1.0, 1.0, 0.0])[:, None]
    factors = center + np.array(jitter)[:, None] * rng.uniform(-1.0, 1.0, size=(4, batch))
    factors[:3] = np.maximum(factors[:3], 0.0)
    return JitterDraw(rng.permutation(4), factors)


def apply_jitter(images: Tensor, draw: JitterDraw) -> Tensor:
    """Brightness, contrast, saturation and hue in the batch's order."""
    factors = _send(draw.factors.astype(np.float32), images.device)
    for which in draw.order:
        images = JITTER_OPS[which](images, factors[which].reshape(-1, 1, 1, 1))
    return images


def _send(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)
