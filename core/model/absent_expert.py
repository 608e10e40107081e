"""The place of an expert that a partial model does not have.

B batch, C channels, D feature dimension, H height, W width.
"""

from __future__ import annotations

from torch import Tensor

from core.experts import Expert


class AbsentExpert(Expert):
    """An expert without weights. Its features only have the right shape: the fusion module replaces them."""

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim

    def features(self, images_BCHW: Tensor) -> Tensor:
        return images_BCHW.new_zeros(len(images_BCHW), self.feature_dim)
