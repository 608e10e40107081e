"""Multiplicative fusion: the element-wise product of the experts' features."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from core.fusion.arithmetic import at_least_float32, product
from core.fusion.base import Combine
from core.fusion.subsets import project_products


class Multiplicative(Combine):
    """prod_k n_k; without expert k its features are 1."""

    neutral = 1.0

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return product(features_KBD)

    def project_subsets(self, features_KBD: list[Tensor], layer: nn.Linear) -> Callable[[slice], Tensor]:
        present_KBD = [at_least_float32(features_BD) for features_BD in features_KBD]
        absent_KD = [self.absent.element(k, features_BD) for k, features_BD in enumerate(present_KBD)]
        return project_products(present_KBD, absent_KD, layer)
