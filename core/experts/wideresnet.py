"""Wide ResNet 28-10 (arXiv:1605.07146): pre-activation blocks with ten times the channels, or another multiple."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from core.experts.base import Expert, conv1x1, conv3x3, global_average_pool

DEPTH = 28
BLOCKS_PER_STAGE = (DEPTH - 4) // 6


class WideBlock(nn.Module):
    """Norm, ReLU, 3x3, norm, ReLU, dropout, 3x3.

    Where the width changes, the shortcut projects the activated input, as in the paper's own code.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.shortcut = conv1x1(in_channels, out_channels, stride) if in_channels != out_channels else None

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        activated = F.relu(self.norm1(maps_BCHW), inplace=True)
        inner: Tensor = self.conv2(self.dropout(F.relu(self.norm2(self.conv1(activated)), inplace=True)))
        shortcut: Tensor = maps_BCHW if self.shortcut is None else self.shortcut(activated)
        return inner + shortcut


class WideResNet28x10(Expert):
    """Three stages of four blocks with D / 4, D / 2 and D channels; D = 640 is the widening factor 10."""

    def __init__(self, num_classes: int, in_channels: int, *, dropout: float, feature_dim: int) -> None:
        super().__init__()
        width = 16
        layers: list[nn.Module] = [conv3x3(in_channels, width)]
        for out, stride in ((feature_dim // 4, 1), (feature_dim // 2, 2), (feature_dim, 2)):
            for index in range(BLOCKS_PER_STAGE):
                layers.append(WideBlock(width, out, stride if index == 0 else 1, dropout))
                width = out
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.finish_init(width, num_classes)

    def features(self, images_BCHW: Tensor) -> Tensor:
        return global_average_pool(self.body(images_BCHW))
