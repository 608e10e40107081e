"""The global head: from the fused vector to class logits.

B batch, C classes, D fused feature dimension, H hidden dimension.
"""

from __future__ import annotations

from torch import nn

from core.spec import HeadOptions
from core.spec.recipes import HEAD_DROPOUT


class MLPHead(nn.Sequential):
    """Linear(D, H) -> ReLU -> Dropout -> Linear(H, C)."""

    def __init__(self, in_features: int, hidden_dim: int, out_features: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(in_features, hidden_dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_dim, out_features)
        )
        self.in_features = in_features
        self.out_features = out_features


GlobalHead = nn.Linear | MLPHead


def build_head(input_dim: int, num_classes: int, options: HeadOptions) -> GlobalHead:
    """Builds a global head (B, D) -> (B, C) with torch's default initialisation of linear layers."""
    if options.type == "mlp":
        dropout = HEAD_DROPOUT if options.dropout is None else options.dropout
        return MLPHead(input_dim, options.hidden_dim or input_dim, num_classes, dropout)
    return nn.Linear(input_dim, num_classes)
