"""Additive fusion: a learned convex combination of the experts' features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.fusion.arithmetic import weighted_sum
from core.fusion.base import Combine, FusionOptions


class SimpleAddition(Combine):
    """sum_k softmax(w)_k n_k, with w (K,) learned from ones."""

    def __init__(self, options: FusionOptions) -> None:
        super().__init__(options)
        self.weights = nn.Parameter(torch.ones(options.num_experts))

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return weighted_sum(features_KBD, self.weights)
