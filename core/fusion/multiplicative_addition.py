"""Multiplicative and additive fusion together."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from core.fusion.arithmetic import at_least_float32, product
from core.fusion.base import FusionSizes
from core.fusion.simple_addition import SimpleAddition
from core.fusion.subsets import Workspace, project_products
from core.spec import FusionOptions


class MultiplicativeAddition(SimpleAddition):
    """prod_k n_k + sum_k softmax(w)_k n_k with learned w (K,); with `weights: none`, prod_k n_k + sum_k n_k.

    No vector is neutral for both: without expert k its features are 1 in the product and 0 in the sum. With expert
    dropout it therefore has two learned elements, `absent` for the product and `absent_sum` for the sum.
    """

    neutral = 1.0

    def __init__(self, sizes: FusionSizes, options: FusionOptions) -> None:
        super().__init__(sizes, options)
        self.absent_sum = self.neutral_elements(0.0, sizes, options)

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return product(features_KBD) + super().forward(features_KBD)

    def combine_present(self, features_KBD: list[Tensor], present_BK: Tensor) -> Tensor:
        factors_KBD = self.absent(features_KBD, present_BK)
        return product(factors_KBD) + super().forward(self.absent_sum(features_KBD, present_BK))

    def project_subsets(self, features_KBD: list[Tensor], layer: nn.Linear) -> Callable[[slice], Tensor]:
        present_KBD = [at_least_float32(features_BD) for features_BD in features_KBD]
        absent_KD = [self.absent.element(k, features_BD) for k, features_BD in enumerate(present_KBD)]
        # Of the sum, the layer needs only one product of matrices for each expert.
        sums = self.project_sums(features_KBD, layer, self.absent_sum, Workspace())
        return project_products(present_KBD, absent_KD, layer, sums)
