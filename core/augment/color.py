"""Colour operations on batches of images: float32 tensors that hold whole pixel values from 0 to 255.

Every operation returns whole values from 0 to 255 again, and has one parameter per image. They follow the operations
of `torchvision.transforms.v2.functional` on uint8 tensors: exactly or, where a sum is truncated, to one value.

B batch, C channels, H height, W width. Factors have the shape (B, 1, 1, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

WHITE = 255.0
_LUMA = (0.2989, 0.587, 0.114)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiplies pixel values by the factor."""
    return (images * factor).clamp_(0, WHITE).floor_()


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blends each image with its mean grey level; factor 1 changes nothing, 0 gives uniform grey."""
    return _blend(images, grey(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blends each image with its greyscale version; one-channel images are returned unchanged."""
    return images if images.shape[1] == 1 else _blend(images, grey(images), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blends each image with a smoothed copy, whose border pixels are not smoothed."""
    if min(images.shape[-2:]) <= 2:
        return images
    # The kernel has ones and a 5 in the centre: a 3x3 box sum plus four times the centre, divided by 13.
    column_sums = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    box_sums = column_sums[..., :-2] + column_sums[..., 1:-1] + column_sums[..., 2:]
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = ((box_sums + 4.0 * images[:, :, 1:-1, 1:-1]) / 13.0).round_()
    return _blend(images, smooth, factor)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the `bits` highest bits of every pixel value."""
    step = torch.exp2(8.0 - bits)
    return torch.floor(images / step) * step


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts pixel values at or above the threshold, a fraction of 255."""
    return torch.where(images >= threshold * WHITE, WHITE - images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretches every channel to the range 0 to 255; a constant channel is returned unchanged."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    flat = low == high
    scale = torch.where(flat, torch.ones_like(low), (high - low) / WHITE)
    return ((images - low.masked_fill(flat, 0.0)) / scale).clamp_(0, WHITE).floor_()


def equalize(images: Tensor) -> Tensor:
    """Equalises the histogram of every channel."""
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
    """Rotates the hue by `shift`, -0.5 to 0.5 of the colour circle; one-channel images are returned unchanged."""
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
    # As a function of the angle each channel is a trapezoid, with its peak at 0 for red, 2 for green and 4 for blue.
    channels = [
        high - spread * (torch.remainder(angle - peak + 3.0, 6.0).sub(3.0).abs() - 1.0).clamp(0.0, 1.0)
        for peak in (0.0, 2.0, 4.0)
    ]
    return (torch.stack(channels, dim=1) * (WHITE + 1.0 - 1e-3)).floor_().clamp_(0, WHITE)


def grey(images: Tensor) -> Tensor:
    """Greyscale version (B, 1, H, W), in whole pixel values."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    luma: Tensor = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
    return luma.floor_()


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (images * factor + other * (1.0 - factor)).clamp_(0, WHITE).floor_()
