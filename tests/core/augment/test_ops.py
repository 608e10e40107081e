"""Every operation compared with torchvision's, on the same images with the same parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from core.augment import color
from core.augment.geometry import affine_matrices, crop_and_flip, warp

SIZES = [(1, 8), (3, 8), (1, 32), (3, 32)]


def images(channels: int, size: int, batch: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(channels * 100 + size)
    pictures = torch.randint(0, 256, (batch, channels, size, size), generator=generator, dtype=torch.uint8)
    # Constant, dark and two-valued images are the edge cases of contrast and equalisation.
    pictures[0] = 90
    pictures[1] = pictures[1] // 4
    pictures[2] = (pictures[2] > 128) * 200
    return pictures


def factors(values: list[float]) -> Tensor:
    return torch.tensor(values).reshape(-1, 1, 1, 1)


# Sums of powers of two, for which 1 - factor is exact: only the order of additions can differ.
VALUES = [0.125, 0.5, 0.875, 1.0, 1.25, 1.875]


@pytest.mark.parametrize(("channels", "size"), SIZES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (color.brightness, TF.adjust_brightness),
        (color.contrast, TF.adjust_contrast),
        (color.saturation, TF.adjust_saturation),
        (color.sharpness, TF.adjust_sharpness),
    ],
)
def test_blending_operations_agree_to_one_pixel_value(
    ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[[Tensor, float], Tensor], channels: int, size: int
) -> None:
    """Truncating a sum close to a whole number can differ by one between two orders of addition."""
    given = images(channels, size)
    changed = ours(given.float(), factors(VALUES))
    expected = torch.stack([theirs(image, value) for image, value in zip(given, VALUES, strict=True)]).float()
    assert (changed - expected).abs().max() <= 1
    assert (changed != expected).float().mean() < 0.02


@pytest.mark.parametrize(("channels", "size"), SIZES)
def test_posterize_solarize_autocontrast_and_equalize_agree(channels: int, size: int) -> None:
    given = images(channels, size)
    bits = [8.0, 7.0, 6.0, 5.0, 4.0, 2.0]
    assert torch.equal(
        color.posterize(given.float(), factors(bits)),
        torch.stack([TF.posterize(image, int(b)) for image, b in zip(given, bits, strict=True)]).float(),
    )
    thresholds = [1.0, 0.9, 0.7, 0.5, 0.2, 0.0]
    assert torch.equal(
        color.solarize(given.float(), factors(thresholds)),
        torch.stack([TF.solarize(image, t * 255) for image, t in zip(given, thresholds, strict=True)]).float(),
    )
    assert torch.equal(color.equalize(given.float()), torch.stack([TF.equalize(image) for image in given]).float())
    stretched = torch.stack([TF.autocontrast(image) for image in given]).float()
    assert (color.autocontrast(given.float()) - stretched).abs().max() <= 1


@pytest.mark.parametrize(("channels", "size"), SIZES)
def test_hue_agrees_to_one_pixel_value(channels: int, size: int) -> None:
    given = images(channels, size)
    shifts = [-0.5, -0.1, -0.03, 0.0, 0.1, 0.4]
    changed = color.hue(given.float(), factors(shifts))
    expected = torch.stack([TF.adjust_hue(image, s) for image, s in zip(given, shifts, strict=True)]).float()
    assert (changed - expected).abs().max() <= 1


GEOMETRY: dict[str, Callable[[Tensor, float], Tensor]] = {
    "ShearX": lambda image, m: TF.affine(
        image, 0.0, [0, 0], 1.0, [float(np.degrees(np.arctan(m))), 0.0], center=[0.0, 0.0]
    ),
    "ShearY": lambda image, m: TF.affine(
        image, 0.0, [0, 0], 1.0, [0.0, float(np.degrees(np.arctan(m)))], center=[0.0, 0.0]
    ),
    "TranslateX": lambda image, m: TF.affine(image, 0.0, [int(m), 0], 1.0, [0.0, 0.0]),
    "TranslateY": lambda image, m: TF.affine(image, 0.0, [0, int(m)], 1.0, [0.0, 0.0]),
    "Rotate": lambda image, m: TF.rotate(image, m),
}


@pytest.mark.parametrize(("channels", "size"), SIZES)
@pytest.mark.parametrize("op", GEOMETRY)
def test_geometry_agrees_but_for_pixels_that_fall_between_two(op: str, channels: int, size: int) -> None:
    """A position halfway between two pixels is rounded to either, depending on the last bit of a float."""
    given = images(channels, size)
    scale = 30.0 if op == "Rotate" else size / 3 if op.startswith("Translate") else 0.9
    magnitude = np.array([-0.97, -0.53, -0.21, 0.13, 0.61, 0.99]) * scale
    moved = warp(given.float(), affine_matrices(op, magnitude, size, size))
    expected = torch.stack([GEOMETRY[op](image, m) for image, m in zip(given, magnitude, strict=True)]).float()
    different = (moved != expected).float().mean().item()
    assert different <= (0.0 if op.startswith("Translate") else 0.005), different


def test_crop_and_flip_agree_with_padding_and_cutting() -> None:
    given = images(3, 32)
    top, left = np.array([0, 8, 4, 3, 1, 7]), np.array([8, 0, 4, 2, 6, 5])
    flip = np.array([False, True, True, False, True, False])
    expected = torch.stack(
        [
            TF.horizontal_flip(cut) if mirrored else cut
            for image, t, x, mirrored in zip(given, top, left, flip, strict=True)
            for cut in [TF.crop(TF.pad(image, [4], padding_mode="reflect"), int(t), int(x), 32, 32)]
        ]
    )
    assert torch.equal(crop_and_flip(given, 4, top, left, flip), expected)


def test_padding_as_large_as_the_image_is_refused() -> None:
    zeros = np.zeros(6, dtype=int)
    with pytest.raises(ValueError, match="crop_padding is 8 px, but images of 8 px can be padded by at most 7 px"):
        crop_and_flip(images(1, 8), 8, zeros, zeros, zeros.astype(bool))


@pytest.mark.parametrize(("channels", "size"), SIZES)
def test_colour_operations_return_whole_pixel_values_from_0_to_255(channels: int, size: int) -> None:
    given = images(channels, size).float()
    for op in (color.brightness, color.contrast, color.saturation, color.sharpness):
        changed = op(given, factors([0.0, 0.1, 0.7, 1.3, 1.9, 3.0]))
        assert torch.equal(changed, changed.floor().clamp(0, 255)), op
    for changed in (
        color.posterize(given, factors([8.0, 7.0, 6.0, 5.0, 4.0, 2.0])),
        color.solarize(given, factors([1.0, 0.9, 0.7, 0.5, 0.2, 0.0])),
        color.autocontrast(given),
        color.equalize(given),
        color.hue(given, factors([-0.5, -0.1, -0.03, 0.0, 0.1, 0.4])),
        color.grey(given),
    ):
        assert torch.equal(changed, changed.floor().clamp(0, 255))
