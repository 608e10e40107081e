"""The base class of all fusion types.

B batch, K experts, D fused feature dimension, H hidden dimension.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
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

    def project_subsets(self, features_KBD: list[Tensor], layer: nn.Linear) -> Callable[[slice], Tensor]:
        """What `layer` computes from `combine_present`, for each of the S = 2^K sets of present experts.

        Returns a function from a range of the images to (B, S, H) for a layer (D, H), of which nobody else has the
        memory. It is called with a few images at a time; what does not grow with S is computed before, for all images.
        For evaluation alone, without gradients.

        Types whose sets share work override this. They get the layer because in a sum it can be applied to every term:
        K products of matrices instead of 2^K. A type that ends in layers of its own leaves them out here and names them
        in `last_layers`; `layer` is then the first of them.
        """
        masks_SK = subset_masks(len(features_KBD), features_KBD[0].device)

        def project(images: slice) -> Tensor:
            batch_KBD = [features_BD[images] for features_BD in features_KBD]
            present = (present_K.expand(len(batch_KBD[0]), -1) for present_K in masks_SK)
            combined_BSD = torch.stack([self.combine_present(batch_KBD, present_BK) for present_BK in present], dim=1)
            projected_BSH: Tensor = layer(combined_BSD)
            return projected_BSH

        return project

    def last_layers(self) -> list[nn.Module]:
        """The layers, from a linear one on, that `project_subsets` leaves out."""
        return []
