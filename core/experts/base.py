"""The base class of all experts: a backbone that computes features, and a classification head of its own.

B batch, C classes (channels in images), D feature dimension, H height, W width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Expert(nn.Module, ABC):
    """A backbone with a linear head, usable without fusion. Subclasses build the backbone, then call `finish_init`."""

    head: nn.Linear
    feature_dim: int

    @abstractmethod
    def features(self, images_BCHW: Tensor) -> Tensor:
        """Maps normalised images to features (B, D)."""

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Maps normalised images to features (B, D) and logits (B, C)."""
        features_BD = self.features(images_BCHW)
        return features_BD, self.head(features_BD)

    def replace_head(self, num_classes: int) -> None:
        """Replaces the head by a newly initialised one for other classes, on the same device and in the same dtype."""
        old = self.head.weight
        self.head = new_head(self.feature_dim, num_classes).to(device=old.device, dtype=old.dtype)
        # The head of a frozen expert stays frozen.
        self.head.requires_grad_(old.requires_grad)

    def finish_init(self, feature_dim: int, num_classes: int) -> None:
        """Initialises the backbone and adds the head.

        Kaiming normal (fan-out, arXiv:1502.01852) for convolutions, ones and zeros for normalisation layers.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        self.add_head(feature_dim, num_classes)

    def add_head(self, feature_dim: int, num_classes: int) -> None:
        """Adds a newly initialised head on features of dimension `feature_dim`."""
        self.feature_dim = feature_dim
        self.head = new_head(feature_dim, num_classes)


def new_head(feature_dim: int, num_classes: int) -> nn.Linear:
    """Linear(D, C) with Xavier uniform weights and zero bias."""
    head = nn.Linear(feature_dim, num_classes)
    nn.init.xavier_uniform_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def global_average_pool(maps_BCHW: Tensor) -> Tensor:
    """Mean over all positions: (B, C, H, W) to (B, C)."""
    return maps_BCHW.mean(dim=(2, 3))


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """3x3 convolution with padding 1, without bias."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """1x1 convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
