"""Shifted multiplicative fusion: a feature of zero leaves the product unchanged."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from core.fusion.arithmetic import at_least_float32, product
from core.fusion.base import Combine
from core.fusion.subsets import project_products


class MultiplicativeShifted(Combine):
    """prod_k (n_k + 1); without expert k its features are 0."""

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return product([at_least_float32(features_BD) + 1.0 for features_BD in features_KBD])

    def project_subsets(self, features_KBD: list[Tensor], layer: nn.Linear) -> Callable[[slice], Tensor]:
        present_KBD = [at_least_float32(features_BD) + 1.0 for features_BD in features_KBD]
        absent_KD = [self.absent.element(k, features_BD) + 1.0 for k, features_BD in enumerate(present_KBD)]
        return project_products(present_KBD, absent_KD, layer)
