"""Geometric operations on batches: crop and flip in one gather, affine transformations in another.

B batch, C channels, H height, W width. Parameters are NumPy arrays with one value per image, drawn on the host.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def check_crop_padding(padding: int, image_size: int) -> None:
    """Raises ValueError if images with this shorter side, in pixels, cannot be padded so far by reflection."""
    if padding >= image_size:
        raise ValueError(
            f"crop_padding is {padding} px, but images of {image_size} px can be padded by at most {image_size - 1} px"
        )


def crop_and_flip(
    images_BCHW: Tensor, padding: int, top_B: np.ndarray, left_B: np.ndarray, flip_B: np.ndarray
) -> Tensor:
    """Pads each image by reflection, crops it to its original size at (top, left), and mirrors it where `flip` is true.

    Raises ValueError if the padding is not smaller than the image.
    """
    height, width = images_BCHW.shape[-2:]
    check_crop_padding(padding, min(height, width))
    rows_BH = _reflect(top_B[:, None] + np.arange(height) - padding, height)
    columns_BW = _reflect(left_B[:, None] + np.arange(width) - padding, width)
    columns_BW = np.where(flip_B[:, None], columns_BW[:, ::-1], columns_BW)
    pixels = rows_BH[:, :, None] * width + columns_BW[:, None, :]
    return _gather_pixels(images_BCHW, torch.from_numpy(pixels).to(images_BCHW.device, non_blocking=True))


def _reflect(position: np.ndarray, size: int) -> np.ndarray:
    position = np.abs(position)
    return np.where(position >= size, 2 * (size - 1) - position, position)


def _gather_pixels(images_BCHW: Tensor, pixels_BHW: Tensor) -> Tensor:
    batch, channels, height, width = images_BCHW.shape
    flat = images_BCHW.reshape(batch, channels, height * width)
    index = pixels_BHW.reshape(batch, 1, height * width).expand(-1, channels, -1)
    return flat.gather(2, index).reshape(batch, channels, height, width)


def affine_matrices(op: str, magnitude_B: np.ndarray, height: int, width: int) -> np.ndarray:
    """Inverse affine matrices (B, 2, 3): from a pixel of the result to its source, relative to the image centre.

    Shear is relative to the upper left corner, as in AutoAugment (arXiv:1805.09501). Translation is in whole pixels,
    rotation in degrees counter-clockwise.
    """
    matrices = np.zeros((len(magnitude_B), 2, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = 1.0
    match op:
        case "ShearX":
            matrices[:, 0, 1], matrices[:, 0, 2] = magnitude_B, magnitude_B * height / 2
        case "ShearY":
            matrices[:, 1, 0], matrices[:, 1, 2] = magnitude_B, magnitude_B * width / 2
        case "TranslateX":
            matrices[:, 0, 2] = -np.trunc(magnitude_B)
        case "TranslateY":
            matrices[:, 1, 2] = -np.trunc(magnitude_B)
        case "Rotate":
            angle = np.deg2rad(magnitude_B)
            matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle)
            matrices[:, 0, 1], matrices[:, 1, 0] = -np.sin(angle), np.sin(angle)
        case _:
            raise AssertionError(op)
    return matrices


def warp(images_BCHW: Tensor, matrices_B23: np.ndarray) -> Tensor:
    """Applies inverse affine matrices with nearest-neighbour sampling; pixels from outside the image are black."""
    height, width = images_BCHW.shape[-2:]
    m = torch.from_numpy(matrices_B23).to(images_BCHW.device, torch.float32, non_blocking=True)[:, :, :, None, None]
    y = torch.arange(height, device=m.device, dtype=torch.float32).sub((height - 1) / 2)[:, None]
    x = torch.arange(width, device=m.device, dtype=torch.float32).sub((width - 1) / 2)[None, :]
    from_x = (m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2] + (width - 1) / 2).round()
    from_y = (m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2] + (height - 1) / 2).round()
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    pixels = from_y.clamp(0, height - 1) * width + from_x.clamp(0, width - 1)
    return _gather_pixels(images_BCHW, pixels.long()) * inside.unsqueeze(1)
