"""Additive fusion: a learned convex combination of the experts' features, or their plain sum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.fusion.absence import NeutralElements
from core.fusion.arithmetic import at_least_float32, plain_sum, weighted_sum
from core.fusion.base import Combine, FusionSizes
from core.fusion.subsets import Workspace, project_sums
from core.spec import FusionOptions


class SimpleAddition(Combine):
    """sum_k softmax(w)_k n_k with learned w (K,), initially ones; with `weights: none`, sum_k n_k.

    Without expert k its features are 0. The weights of the others stay, so that what is left of the sum does not depend
    on who is absent.
    """

    def __init__(self, sizes: FusionSizes, options: FusionOptions) -> None:
        super().__init__(sizes, options)
        self.weights = nn.Parameter(torch.ones(sizes.num_experts)) if options.weights != "none" else None

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return plain_sum(features_KBD) if self.weights is None else weighted_sum(features_KBD, self.weights)

    def project_subsets(self, features_KBD: list[Tensor], layer: nn.Linear) -> Callable[[slice], Tensor]:
        return self.project_sums(features_KBD, layer, self.absent)

    def project_sums(
        self,
        features_KBD: list[Tensor],
        layer: nn.Linear,
        absent: NeutralElements,
        workspace: Workspace | None = None,
    ) -> Callable[[slice], Tensor]:
        """The layer's output for the sum alone, with the elements of `absent` in place of absent experts."""
        present_KBD = [at_least_float32(features_BD) for features_BD in features_KBD]
        absent_KD = [absent.element(k, features_BD) for k, features_BD in enumerate(present_KBD)]
        if self.weights is not None:
            softmax_K = torch.softmax(at_least_float32(self.weights), dim=0)
            present_KBD = [term_BD * w for term_BD, w in zip(present_KBD, softmax_K, strict=True)]
            absent_KD = [term_D * w for term_D, w in zip(absent_KD, softmax_K, strict=True)]
        return project_sums(present_KBD, absent_KD, [layer.weight] * len(present_KBD), layer.bias, workspace)
