"""The base class of all fusion types.

B batch, K experts, D fused feature dimension, H hidden dimension.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.fusion.absence import NeutralElements
from core.fusion.subsets import subset_masks
from core.spec import FusionOptions


@dataclass(frozen=True)
class FusionSizes:
    """Sizes of a fusion module: K experts, fused dimension D, hidden dimension H."""

    num_experts: int
    input_dim: int
    hidden_dim: int


def mlp(input_dim: int, hidden_dim: int, output_dim: int, dropout: float) -> nn.Sequential:
    """Linear -> ReLU -> Dropout -> Linear."""
    return nn.Sequential(
        nn.Linear(input_dim, hidden_dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_dim, output_dim)
    )


class Combine(nn.Module, ABC):
    """Combines the normalised features of K experts, each (B, D), to one (B, D).

    Subclasses read `sizes` and `options` in their constructor if they have weights of their own. `has_own_mlp` is true
    for types whose MLP is part of how they combine; the others are followed by one.

    `neutral` is the value of features that leave the result to the other experts, such as 1 in a product and 0 in a
    sum. It replaces those of an absent expert; with expert dropout, what replaces them is learned and starts there.
    """

    has_own_mlp = False
    neutral = 0.0

    def __init__(self, sizes: FusionSizes, options: FusionOptions) -> None:
        super().__init__()
        self.absent = self.neutral_elements(self.neutral, sizes, options)

    @staticmethod
    def neutral_elements(value: float, sizes: FusionSizes, options: FusionOptions) -> NeutralElements:
        """A replacement for the features of absent experts that starts at `value`."""
        return NeutralElements(value, sizes.num_experts, sizes.input_dim, learned=options.expert_dropout > 0)

    @abstractmethod
    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        """Maps K features, each (B, D), to (B, D)."""

    def combine_present(self, features_KBD: list[Tensor], present_BK: Tensor) -> Tensor:
        """Maps K features, each (B, D), to (B, D) for the experts that are present; those of the others have no effect.

        `present_BK` has booleans; a row without any true one is allowed.
        """
        combined_BD: Tensor = self(self.absent(features_KBD, present_BK))
        return combined_BD

    def combine_subsets(self, features_KBD: list[Tensor]) -> Tensor:
        """What `combine_present` computes, for each of the S = 2^K sets of present experts: (S, B, D).

        For evaluation alone. Types whose sets share work override this; they may stop before layers that follow in any
        case, which `after_subsets` then names.
        """
        batch = len(features_KBD[0])
        masks_SK = subset_masks(len(features_KBD), features_KBD[0].device)
        return torch.stack([self.combine_present(features_KBD, present_K.expand(batch, -1)) for present_K in masks_SK])

    def after_subsets(self) -> list[nn.Module]:
        """The layers between what `combine_subsets` computes and the combined features."""
        return []
