"""Shifted multiplicative fusion: a feature of zero leaves the product unchanged."""

from __future__ import annotations

from torch import Tensor

from core.fusion.arithmetic import at_least_float32, product
from core.fusion.base import Combine


class MultiplicativeShifted(Combine):
    """prod_k (n_k + 1)."""

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return product([at_least_float32(features_BD) + 1.0 for features_BD in features_KBD])
