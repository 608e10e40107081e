"""What every expert is: a backbone that gives features, and a head of its own, so that it works alone.

B batch, C classes (channels in images), D feature dimension, H height, W width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Expert(nn.Module, ABC):
    """A backbone with its own linear head. Subclasses build the backbone, then call `finish_init`."""

    head: nn.Linear
    feature_dim: int

    @abstractmethod
    def features(self, images_BCHW: Tensor) -> Tensor:
        """Normalised images to features (B, D)."""

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images to features (B, D) and logits (B, C)."""
        features_BD = self.features(images_BCHW)
        return features_BD, self.head(features_BD)

    def replace_head(self, num_classes: int) -> None:
        """Puts a new head for other classes on the same features."""
        old = self.head.weight
        self.head = new_head(self.feature_dim, num_classes).to(device=old.device, dtype=old.dtype)
        # A frozen expert's head is as frozen as the rest of it.
        self.head.requires_grad_(old.requires_grad)

    def finish_init(self, feature_dim: int, num_classes: int) -> None:
        """Kaiming (fan-out) for convolutions, one and zero for norms, Xavier for the head (arXiv:1502.01852)."""
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
        """Gives the expert its feature dimension and its head."""
        self.feature_dim = feature_dim
        self.head = new_head(feature_dim, num_classes)


def new_head(feature_dim: int, num_classes: int) -> nn.Linear:
    """Linear(D, C), Xavier."""
    head = nn.Linear(feature_dim, num_classes)
    nn.init.xavier_uniform_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def pool(maps_BCHW: Tensor) -> Tensor:
    """The mean over all positions: (B, C, H, W) to (B, C)."""
    return maps_BCHW.mean(dim=(2, 3))


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size (at stride 1), without bias."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 1x1 convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
