"""Colour policies: ColorJitter, RandAugment (arXiv:1909.13719), TrivialAugmentWide (arXiv:2103.10158).

B batch. The operations of all images are drawn on the host, so that the images with the same operation can be
processed together without synchronising the device.
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
_WITHOUT_PARAMETER: dict[str, Callable[[Tensor], Tensor]] = {
    "AutoContrast": color.autocontrast,
    "Equalize": color.equalize,
}
OPS = ("Identity", *_GEOMETRIC, *_FACTORS, *_LEVELS, *_WITHOUT_PARAMETER)


@dataclass(frozen=True)
class MagnitudeSpace:
    """Largest magnitude of every operation of a policy.

    Shear is a slope, translation in pixels, rotation in degrees; `factor` is the largest deviation of a blending factor
    from 1, and `posterize_bits` the largest number of bits that posterizing removes.
    """

    shear: float
    translate_x: float
    translate_y: float
    rotate: float
    factor: float
    posterize_bits: int

    def magnitudes(self, op: str, bins: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Magnitudes of one operation for bins from 0 to 30 and signs -1 or 1, one per image."""
        fraction: np.ndarray = bins / (NUM_BINS - 1)
        signed: np.ndarray = fraction * signs
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
                return 1.0 - fraction
            case _:
                return np.asarray(1.0 + signed * self.factor)


def randaugment_space(height: int, width: int) -> MagnitudeSpace:
    """Magnitudes of RandAugment; translations scale with the image size."""
    return MagnitudeSpace(0.3, 150.0 / 331.0 * width, 150.0 / 331.0 * height, 30.0, 0.9, 4)


def trivial_space(height: int, width: int) -> MagnitudeSpace:
    """Magnitudes of TrivialAugmentWide."""
    return MagnitudeSpace(0.99, 32.0, 32.0, 135.0, 0.99, 6)


@dataclass(frozen=True)
class Stage:
    """One operation per image (B,): its index in `OPS`, its bin and its sign."""

    ops: np.ndarray
    bins: np.ndarray
    signs: np.ndarray

    def rows(self, rows: slice) -> Stage:
        """The same for some of the images."""
        return Stage(self.ops[rows], self.bins[rows], self.signs[rows])


def draw_stages(policy: str, randaugment: tuple[int, int], batch: int, rng: np.random.Generator) -> list[Stage]:
    """Draws the stages of RandAugment (number of operations, bin), or the one of TrivialAugmentWide (any bin)."""
    num_ops, fixed_bin = randaugment if policy == "RandAugment" else (1, -1)
    return [
        Stage(
            rng.integers(len(OPS), size=batch),
            np.full(batch, fixed_bin) if fixed_bin >= 0 else rng.integers(NUM_BINS, size=batch),
            rng.choice(np.array([-1.0, 1.0]), size=batch),
        )
        for _ in range(num_ops)
    ]


def apply_stage(images: Tensor, stage: Stage, space: MagnitudeSpace) -> Tensor:
    """Applies one operation to every image; images (B, C, H, W) are float32 with pixel values from 0 to 255."""
    height, width = images.shape[-2:]
    result = images.clone()
    geometric_rows, matrices = [], []
    for index, op in enumerate(OPS):
        (rows,) = np.nonzero(stage.ops == index)
        if len(rows) == 0 or op == "Identity":
            continue
        magnitudes = space.magnitudes(op, stage.bins[rows], stage.signs[rows])
        if op in _GEOMETRIC:
            geometric_rows.append(rows)
            matrices.append(affine_matrices(op, magnitudes, height, width))
            continue
        rows_on_device = _to_device(rows, images.device)
        chosen = images[rows_on_device]
        if op in _WITHOUT_PARAMETER:
            changed = _WITHOUT_PARAMETER[op](chosen)
        else:
            parameters = _to_device(magnitudes.astype(np.float32), images.device).reshape(-1, 1, 1, 1)
            changed = (_FACTORS | _LEVELS)[op](chosen, parameters)
        result[rows_on_device] = changed
    if geometric_rows:
        rows_on_device = _to_device(np.concatenate(geometric_rows), images.device)
        result[rows_on_device] = warp(images[rows_on_device], np.concatenate(matrices))
    return result


JITTER_OPS = (color.brightness, color.contrast, color.saturation, color.hue)


@dataclass(frozen=True)
class JitterDraw:
    """ColorJitter of a batch: the order of the four operations (4, B), and their parameters (4, B).

    Operations are indices into `JITTER_OPS`; `order[i]` is what each image gets as its i-th operation.
    """

    order: np.ndarray
    factors: np.ndarray

    def rows(self, rows: slice) -> JitterDraw:
        """The same for some of the images."""
        return JitterDraw(self.order[:, rows], self.factors[:, rows])


def draw_jitter(jitter: tuple[float, float, float, float], batch: int, rng: np.random.Generator) -> JitterDraw:
    """Draws an order per image, and its factors: 1 - x to 1 + x (at least 0), for the hue a shift of -x to x."""
    center = np.array([1.0, 1.0, 1.0, 0.0])[:, None]
    factors = center + np.array(jitter)[:, None] * rng.uniform(-1.0, 1.0, size=(4, batch))
    factors[:3] = np.maximum(factors[:3], 0.0)
    order = rng.permuted(np.tile(np.arange(4)[:, None], batch), axis=0)
    return JitterDraw(order, factors)


def apply_jitter(images: Tensor, draw: JitterDraw) -> Tensor:
    """Applies brightness, contrast, saturation and hue to every image, in the order drawn for it."""
    result = images.clone()
    factors = _to_device(draw.factors.astype(np.float32), images.device)
    for ops in draw.order:
        for index, op in enumerate(JITTER_OPS):
            rows = _to_device(np.nonzero(ops == index)[0], images.device)
            result[rows] = op(result[rows], factors[index, rows].reshape(-1, 1, 1, 1))
    return result


def _to_device(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)
