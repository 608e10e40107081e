"""Multiplicative fusion: the element-wise product of the experts' features."""

from __future__ import annotations

import torch
from torch import Tensor

from core.fusion.arithmetic import at_least_float32, product
from core.fusion.base import Combine
from core.fusion.subsets import fold_subsets


class Multiplicative(Combine):
    """prod_k n_k; without expert k its features are 1."""

    neutral = 1.0

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return product(features_KBD)

    def combine_subsets(self, features_KBD: list[Tensor]) -> Tensor:
        present_KBD = [at_least_float32(features_BD) for features_BD in features_KBD]
        absent_KD = [self.absent.element(k, features_BD) for k, features_BD in enumerate(present_KBD)]
        return fold_subsets(torch.mul, present_KBD, absent_KD)
