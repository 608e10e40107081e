"""RandomErasing (arXiv:1708.04896): a rectangle of an image is blanked.

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
    """Boxes (B, 4) as top, left, height, width; all zero for images that are left alone.

    The area is 2 to 33 % of the image and the aspect ratio 0.3 to 3.3; of ten draws the first that fits is taken.
    """
    erased = rng.random(batch) < probability
    area = height * width * rng.uniform(*SCALE, size=(ATTEMPTS, batch))
    ratio = np.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1]), size=(ATTEMPTS, batch)))
    heights, widths = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (heights < height) & (widths < width)
    first = fits.argmax(axis=0)
    pick = (first, np.arange(batch))
    box_height, box_width = heights[pick], widths[pick]
    top = np.floor(rng.random(batch) * (height - box_height + 1))
    left = np.floor(rng.random(batch) * (width - box_width + 1))
    boxes = np.stack([top, left, box_height, box_width], axis=1)
    boxes[~(erased & fits.any(axis=0))] = 0
    return boxes.astype(np.int64)


def erase(images_BCHW: Tensor, boxes_B4: np.ndarray) -> Tensor:
    """Sets the boxes of normalised images to 0, their mean."""
    height, width = images_BCHW.shape[-2:]
    boxes = torch.from_numpy(boxes_B4).to(images_BCHW.device, non_blocking=True)
    top, left, tall, wide = (column[:, None] for column in boxes.unbind(dim=1))
    rows_BH = torch.arange(height, device=images_BCHW.device)[None]
    columns_BW = torch.arange(width, device=images_BCHW.device)[None]
    in_rows = (rows_BH >= top) & (rows_BH < top + tall)
    in_columns = (columns_BW >= left) & (columns_BW < left + wide)
    return images_BCHW.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)
