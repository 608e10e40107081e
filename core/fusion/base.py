"""The base class of all fusion types.

B batch, K experts, D fused feature dimension, H hidden dimension.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

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
    """

    has_own_mlp = False

    def __init__(self, sizes: FusionSizes, options: FusionOptions) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        """Maps K features, each (B, D), to (B, D)."""
