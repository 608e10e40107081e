"""ResNeXt-29 8x64d (arXiv:1611.05431), as published and with pre-activation blocks (arXiv:1603.05027)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from core.experts.base import Expert, conv1x1, conv3x3, global_average_pool

CARDINALITY = 8
BASE_WIDTH = 64
BLOCKS_PER_STAGE = 3


class _Block(nn.Module):
    """1x1, grouped 3x3, 1x1; each group of the first stage has 64 channels."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        inner_channels = CARDINALITY * BASE_WIDTH * out_channels // 256
        self.conv1 = conv1x1(in_channels, inner_channels)
        self.conv2 = conv3x3(inner_channels, inner_channels, stride, groups=CARDINALITY)
        self.dropout = nn.Dropout(dropout)
        self.conv3 = conv1x1(inner_channels, out_channels)
        self.inner_channels = inner_channels
        self.needs_projection = stride != 1 or in_channels != out_channels


class Block(_Block):
    """Norm after every convolution, ReLU after the sum."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__(in_channels, out_channels, stride, dropout)
        self.norm1, self.norm2 = nn.BatchNorm2d(self.inner_channels), nn.BatchNorm2d(self.inner_channels)
        self.norm3 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if self.needs_projection:
            self.shortcut = nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(maps_BCHW)), inplace=True)
        inner = F.relu(self.norm2(self.conv2(inner)), inplace=True)
        return F.relu(self.norm3(self.conv3(self.dropout(inner))) + self.shortcut(maps_BCHW), inplace=True)


class PreActBlock(_Block):
    """Norm and ReLU before every convolution, dropout before the third norm.

    Where the shape changes, the shortcut projects the raw input, as in the lab's networks. In arXiv:1603.05027 it
    projects the activated input there.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__(in_channels, out_channels, stride, dropout)
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.norm2, self.norm3 = nn.BatchNorm2d(self.inner_channels), nn.BatchNorm2d(self.inner_channels)
        self.shortcut = conv1x1(in_channels, out_channels, stride) if self.needs_projection else None

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        inner: Tensor = self.conv1(F.relu(self.norm1(maps_BCHW), inplace=True))
        inner = self.dropout(self.conv2(F.relu(self.norm2(inner), inplace=True)))
        inner = self.conv3(F.relu(self.norm3(inner), inplace=True))
        shortcut: Tensor = maps_BCHW if self.shortcut is None else self.shortcut(maps_BCHW)
        return inner + shortcut


class ResNeXt29(Expert):
    """Three stages of three blocks with 256, 512 and 1024 channels; D = 1024."""

    def __init__(self, num_classes: int, in_channels: int, *, dropout: float, preact: bool) -> None:
        super().__init__()
        block = PreActBlock if preact else Block
        width = 64
        layers: list[nn.Module] = [conv3x3(in_channels, width)]
        if not preact:
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        for out, stride in ((256, 1), (512, 2), (1024, 2)):
            for index in range(BLOCKS_PER_STAGE):
                layers.append(block(width, out, stride if index == 0 else 1, dropout))
                width = out
        if preact:
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.finish_init(width, num_classes)

    def features(self, images_BCHW: Tensor) -> Tensor:
        return global_average_pool(self.body(images_BCHW))
