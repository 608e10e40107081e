"""ResNet-18 for small images: 3x3 stem, no max-pooling (arXiv:1512.03385)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from core.experts.base import Expert, conv1x1, conv3x3, global_average_pool


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected by a 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(maps_BCHW)), inplace=True)
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(maps_BCHW), inplace=True)


class ResNet18(Expert):
    """Four stages of two blocks with D / 8, D / 4, D / 2 and D channels; D is 512 unless another width is chosen."""

    def __init__(self, num_classes: int, in_channels: int, *, feature_dim: int) -> None:
        super().__init__()
        width = feature_dim // 8
        self.stem = nn.Sequential(conv3x3(in_channels, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        blocks: list[nn.Module] = []
        for out, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
            blocks += [BasicBlock(width, out, stride), BasicBlock(out, out, 1)]
            width = out
        self.blocks = nn.Sequential(*blocks)
        self.finish_init(width, num_classes)

    def features(self, images_BCHW: Tensor) -> Tensor:
        return global_average_pool(self.blocks(self.stem(images_BCHW)))
