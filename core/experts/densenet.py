"""DenseNet-121 for small images: 3x3 stem, no max-pooling (arXiv:1608.06993)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.experts.base import Expert, conv1x1, conv3x3, global_average_pool

GROWTH_RATE = 32
LAYERS_PER_BLOCK = (6, 12, 24, 16)


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1 to 4 x growth rate, norm, ReLU, 3x3 to growth rate, dropout; concatenated to its input."""

    def __init__(self, in_channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv1x1(in_channels, 4 * GROWTH_RATE)
        self.norm2 = nn.BatchNorm2d(4 * GROWTH_RATE)
        self.conv2 = conv3x3(4 * GROWTH_RATE, GROWTH_RATE)
        self.dropout = nn.Dropout(dropout)

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        inner = self.conv1(F.relu(self.norm1(maps_BCHW), inplace=True))
        new = self.conv2(F.relu(self.norm2(inner), inplace=True))
        return torch.cat([maps_BCHW, self.dropout(new)], dim=1)


def transition(in_channels: int) -> nn.Sequential:
    """Halves the channels and the size; of an odd size the last row and column are dropped."""
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        conv1x1(in_channels, in_channels // 2),
        nn.AvgPool2d(2),
    )


class DenseNet121(Expert):
    """Four dense blocks of 6, 12, 24 and 16 layers, beginning with 64 channels; D = 1024."""

    def __init__(self, num_classes: int, in_channels: int, *, dropout: float) -> None:
        super().__init__()
        width = 2 * GROWTH_RATE
        layers: list[nn.Module] = [conv3x3(in_channels, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        for index, num_layers in enumerate(LAYERS_PER_BLOCK):
            for _ in range(num_layers):
                layers.append(DenseLayer(width, dropout))
                width += GROWTH_RATE
            if index < len(LAYERS_PER_BLOCK) - 1:
                layers.append(transition(width))
                width //= 2
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.finish_init(width, num_classes)

    def features(self, images_BCHW: Tensor) -> Tensor:
        return global_average_pool(self.body(images_BCHW))
