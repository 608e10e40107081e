"""RandomErasing (arXiv:1708.04896): replaces a random rectangle of an image by the mean.

B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

SCALE = (0.02, 0.33)
RATIO = (0.3, 3.3)
ATTEMPTS = 10


def draw_boxes(probability: float, batch: int, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draws boxes (B, 4) as top, left, height, width; all zeros for images that are not erased.

    The area is 2 to 33 % of the image and the aspect ratio 0.3 to 3.3. The first of ten draws that fits is used.
    """
    erased = rng.random(batch) < probability
    area = height * width * rng.uniform(*SCALE, size=(ATTEMPTS, batch))
    ratio = np.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1]), size=(ATTEMPTS, batch)))
    heights, widths = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (heights < height) & (widths < width)
    first = fits.argmax(axis=0)
    chosen = (first, np.arange(batch))
    box_height, box_width = heights[chosen], widths[chosen]
    top = np.floor(rng.random(batch) * (height - box_height + 1))
    left = np.floor(rng.random(batch) * (width - box_width + 1))
    boxes = np.stack([top, left, box_height, box_width], axis=1)
    boxes[~(erased & fits.any(axis=0))] = 0
    return boxes.astype(np.int64)


def erase(images_BCHW: Tensor, boxes_B4: np.ndarray) -> Tensor:
    """Sets the boxes (B, 4) of normalised images to 0, the mean."""
    height, width = images_BCHW.shape[-2:]
    boxes = torch.from_numpy(boxes_B4).to(images_BCHW.device, non_blocking=True)
    top, left, box_height, box_width = (column[:, None] for column in boxes.unbind(dim=1))
    rows_BH = torch.arange(height, device=images_BCHW.device)[None]
    columns_BW = torch.arange(width, device=images_BCHW.device)[None]
    in_rows = (rows_BH >= top) & (rows_BH < top + box_height)
    in_columns = (columns_BW >= left) & (columns_BW < left + box_width)
    return images_BCHW.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)
