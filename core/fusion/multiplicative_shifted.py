"""Shifted multiplicative fusion: every feature is moved by one, so that a silent expert leaves the product alone."""

from __future__ import annotations

from torch import Tensor

from core.fusion.arithmetic import product
from core.fusion.base import Combine


class MultiplicativeShifted(Combine):
    """prod_k (n_k + 1)."""

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return product([features_BD.float() + 1.0 for features_BD in features_KBD])
