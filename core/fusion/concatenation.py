"""Fusion by concatenation: an MLP on the features of all experts side by side."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.fusion.base import Combine, FusionSizes, mlp
from core.fusion.subsets import project_sums
from core.spec import FusionOptions


class Concatenation(Combine):
    """Linear(K*D, H) -> ReLU -> Dropout -> Linear(H, D) on [n_1 .. n_K]; with `mlp: false`, one Linear(K*D, D).

    The head expects (B, D), so the K*D features have to be projected to D even without the MLP. Without expert k its
    features are 0: the first layer then adds nothing for it.
    """

    has_own_mlp = True

    def __init__(self, sizes: FusionSizes, options: FusionOptions) -> None:
        super().__init__(sizes, options)
        concatenated_dim = sizes.num_experts * sizes.input_dim
        self.project: nn.Module = (
            mlp(concatenated_dim, sizes.hidden_dim, sizes.input_dim, options.dropout)
            if options.mlp
            else nn.Linear(concatenated_dim, sizes.input_dim)
        )

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        fused_BD: Tensor = self.project(torch.cat(features_KBD, dim=1))
        return fused_BD

    def project_subsets(self, features_KBD: list[Tensor], layer: nn.Linear) -> Callable[[slice], Tensor]:
        # The first layer is a sum over experts.
        absent_KD = [self.absent.element(k, features_BD) for k, features_BD in enumerate(features_KBD)]
        return project_sums(features_KBD, absent_KD, layer.weight.chunk(len(features_KBD), dim=1), layer.bias)

    def last_layers(self) -> list[nn.Module]:
        return [self.project]
