"""A small convolutional network for demonstrations and tests: images of 8 px and more, seconds on a CPU."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from core.experts.base import Expert, conv3x3


def _norm(kind: Literal["batch", "group"], channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(8, channels)


class ConvNetSmall(Expert):
    """Three 3x3 convolutions (16, 32, 48 channels), average pooling to 2x2, and a linear layer to D features.

    With GroupNorm the images of a batch do not influence one another: the result is the same however a batch is split.
    """

    def __init__(
        self, num_classes: int, in_channels: int, *, feature_dim: int, norm: Literal["batch", "group"]
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_channels
        for out, stride in ((16, 1), (32, 1), (48, 2)):
            layers += [conv3x3(width, out, stride), _norm(norm, out), nn.ReLU(inplace=True)]
            width = out
        self.body = nn.Sequential(*layers)
        self.project = nn.Linear(2 * 2 * width, feature_dim)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.finish_init(feature_dim, num_classes)

    def features(self, images_BCHW: Tensor) -> Tensor:
        features_BD: Tensor = self.project(self.pool(self.body(images_BCHW)).flatten(1))
        return features_BD
