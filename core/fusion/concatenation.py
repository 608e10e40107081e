"""Fusion by concatenation: an MLP on the features of all experts side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.fusion.arithmetic import at_least_float32, without_autocast
from core.fusion.base import Combine, FusionSizes, mlp
from core.fusion.subsets import fold_subsets
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

    def combine_subsets(self, features_KBD: list[Tensor]) -> Tensor:
        # The first layer is a sum over experts, of which each term is computed once.
        first = self._layers()[0]
        with without_autocast(features_KBD[0].device):
            inputs_KBD = [at_least_float32(features_BD) for features_BD in features_KBD]
            pairs = list(zip(inputs_KBD, first.weight.chunk(len(inputs_KBD), dim=1), strict=True))
            present_KBH = [inputs_BD @ weight_HD.T for inputs_BD, weight_HD in pairs]
            absent_KH = [
                weight_HD @ self.absent.element(k, inputs_BD) for k, (inputs_BD, weight_HD) in enumerate(pairs)
            ]
            return fold_subsets(torch.add, present_KBH, absent_KH) + first.bias

    def after_subsets(self) -> list[nn.Module]:
        return self._layers()[1]

    def _layers(self) -> tuple[nn.Linear, list[nn.Module]]:
        """The first layer, and those after it."""
        first, *rest = self.project if isinstance(self.project, nn.Sequential) else [self.project]
        assert isinstance(first, nn.Linear)
        return first, rest
