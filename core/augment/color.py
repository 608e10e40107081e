"""Changing pixels' values: images are float32 with whole grey levels from 0 to 255, and stay so.

B batch, C channels, H height, W width. Factors are tensors (B, 1, 1, 1). Each operation is that of the Python imaging
library on 8-bit images, the reference of AutoAugment (arXiv:1805.09501).
"""

from __future__ import annotations

import torch
from torch import Tensor

WHITE = 255.0
_LUMA = (0.2989, 0.587, 0.114)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiplies grey levels."""
    return (images * factor).clamp_(0, WHITE).floor_()


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Moves each image away from its mean grey level, or towards it."""
    return _blend(images, grey(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Moves each pixel away from its grey, or towards it; a one-channel image has no colour to change."""
    return images if images.shape[1] == 1 else _blend(images, grey(images), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Moves each image away from a smoothed copy, or towards it; the outermost pixels are not smoothed."""
    if min(images.shape[-2:]) <= 2:
        return images
    # The 3x3 sum is two sums of three, and the middle counts five times: 13 in all.
    rows = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    block = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = ((block + 4.0 * images[:, :, 1:-1, 1:-1]) / 13.0).round_()
    return _blend(images, smooth, factor)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the highest bits of every grey level."""
    step = torch.exp2(8.0 - bits)
    return torch.floor(images / step) * step


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts grey levels from the threshold (0 to 1 of white) up."""
    return torch.where(images >= threshold * WHITE, WHITE - images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretches every channel to the whole range; one of a single grey level stays."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    flat = low == high
    scale = torch.where(flat, torch.ones_like(low), (high - low) / WHITE)
    return ((images - low.masked_fill(flat, 0.0)) / scale).clamp_(0, WHITE).floor_()


def equalize(images: Tensor) -> Tensor:
    """Flattens the histogram of every channel."""
    batch, channels, height, width = images.shape
    levels = images.long().reshape(batch * channels, height * width)
    histogram = torch.zeros(len(levels), 256, device=images.device, dtype=torch.int64)
    histogram.scatter_add_(1, levels, torch.ones_like(levels))
    brightest = histogram.gather(1, levels.amax(dim=1, keepdim=True))
    step = (height * width - brightest) // 255
    before = histogram.cumsum(dim=1) - histogram
    table = ((before + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return table.gather(1, levels).to(images.dtype).reshape(images.shape)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turns the colour circle by `shift` (-0.5 to 0.5 of it); a one-channel image has no colour to turn."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images / WHITE).unbind(dim=1)
    high, low = torch.maximum(torch.maximum(red, green), blue), torch.minimum(torch.minimum(red, green), blue)
    spread = high - low
    flat = spread == 0
    safe = torch.where(flat, torch.ones_like(spread), spread)
    angle = torch.where(
        high == red,
        (green - blue) / safe,
        torch.where(high == green, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    )
    angle = torch.where(flat, torch.zeros_like(angle), angle) + 6.0 * shift.flatten(1)[..., None]
    # Each channel is a trapezoid along the circle, red's highest at 0, green's at 2, blue's at 4.
    channels = [
        high - spread * (torch.remainder(angle - peak + 3.0, 6.0).sub(3.0).abs() - 1.0).clamp(0.0, 1.0)
        for peak in (0.0, 2.0, 4.0)
    ]
    return (torch.stack(channels, dim=1) * (WHITE + 1.0 - 1e-3)).floor_().clamp_(0, WHITE)


def grey(images: Tensor) -> Tensor:
    """The luma (B, 1, H, W) in whole grey levels."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    luma: Tensor = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
    return luma.floor_()


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (images * factor + other * (1.0 - factor)).clamp_(0, WHITE).floor_()
