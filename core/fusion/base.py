"""What every fusion type is made of.

B batch, K experts, D common feature dimension, H hidden dimension.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class FusionOptions:
    """The sizes and options that a fusion type is built from; `hidden_dim` is H, resolved."""

    input_dim: int
    num_experts: int
    hidden_dim: int
    dropout: float = 0.2
    heads: int = 8
    encoder: bool = False
    mlp: bool = True


def mlp(input_dim: int, hidden_dim: int, output_dim: int, dropout: float) -> nn.Sequential:
    """Linear -> ReLU -> Dropout -> Linear."""
    return nn.Sequential(
        nn.Linear(input_dim, hidden_dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_dim, output_dim)
    )


class Combine(nn.Module, ABC):
    """Makes one vector of K: a list of normalised features, each (B, D) in float32, to (B, D).

    `has_own_mlp` is true where the type's multilayer perceptron is part of how it combines.
    """

    has_own_mlp = False

    def __init__(self, options: FusionOptions) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        """K features, each (B, D), to (B, D)."""
