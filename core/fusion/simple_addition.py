"""Additive fusion: a learned convex combination of the experts' features, or their plain sum."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.fusion.arithmetic import plain_sum, weighted_sum
from core.fusion.base import Combine, FusionSizes
from core.spec import FusionOptions


class SimpleAddition(Combine):
    """sum_k softmax(w)_k n_k with learned w (K,), initially ones; with `weights: none`, sum_k n_k."""

    def __init__(self, sizes: FusionSizes, options: FusionOptions) -> None:
        super().__init__(sizes, options)
        self.weights = nn.Parameter(torch.ones(sizes.num_experts)) if options.weights != "none" else None

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return plain_sum(features_KBD) if self.weights is None else weighted_sum(features_KBD, self.weights)
