"""Fusion by concatenation: a multilayer perceptron sees all features side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.fusion.base import Combine, FusionOptions, mlp


class Concatenation(Combine):
    """Linear(K*D, H) -> ReLU -> Dropout -> Linear(H, D) on [n_1 .. n_K]; without `mlp`, one Linear(K*D, D).

    The fused vector must be (B, D) for the head: something has to bring K*D down to D even without the perceptron.
    """

    has_own_mlp = True

    def __init__(self, options: FusionOptions) -> None:
        super().__init__(options)
        width = options.num_experts * options.input_dim
        self.project: nn.Module = (
            mlp(width, options.hidden_dim, options.input_dim, options.dropout)
            if options.mlp
            else nn.Linear(width, options.input_dim)
        )

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        fused_BD: Tensor = self.project(torch.cat(features_KBD, dim=1))
        return fused_BD
