"""Multiplicative and additive fusion together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.fusion.arithmetic import product, weighted_sum
from core.fusion.base import Combine, FusionOptions


class MultiplicativeAddition(Combine):
    """prod_k n_k + sum_k softmax(w)_k n_k, with w (K,) learned from ones."""

    def __init__(self, options: FusionOptions) -> None:
        super().__init__(options)
        self.weights = nn.Parameter(torch.ones(options.num_experts))

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return product(features_KBD) + weighted_sum(features_KBD, self.weights)
