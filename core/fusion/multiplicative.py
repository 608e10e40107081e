"""Multiplicative fusion: the element-wise product of the experts' features."""

from __future__ import annotations

from torch import Tensor

from core.fusion.arithmetic import product
from core.fusion.base import Combine


class Multiplicative(Combine):
    """prod_k n_k."""

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return product(features_KBD)
