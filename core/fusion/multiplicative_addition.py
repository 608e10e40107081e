"""Multiplicative and additive fusion together."""

from __future__ import annotations

from torch import Tensor

from core.fusion.arithmetic import product
from core.fusion.simple_addition import SimpleAddition


class MultiplicativeAddition(SimpleAddition):
    """prod_k n_k + sum_k softmax(w)_k n_k with learned w (K,); with `weights: none`, prod_k n_k + sum_k n_k."""

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return product(features_KBD) + super().forward(features_KBD)
