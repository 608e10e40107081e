"""Fusion by attention: the experts are a sequence of K tokens (arXiv:1706.03762)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.fusion.base import Combine, FusionOptions


class TransformerBase(Combine):
    """Multi-head self-attention across the experts, then the mean over them.

    With `encoder`, a two-layer encoder (feed-forward width D) instead of the attention alone. D must be a multiple of
    the number of heads: ValueError otherwise, with the numbers that would do.
    """

    def __init__(self, options: FusionOptions) -> None:
        super().__init__(options)
        dim, heads = options.input_dim, options.heads
        if dim % heads:
            valid = ", ".join(str(count) for count in range(1, dim + 1) if dim % count == 0)
            raise ValueError(
                f"TransformerBase splits the fused dimension D = {dim} between its heads; {heads} does not divide it: "
                f"choose fusion.heads from {valid}, or another input_dim"
            )
        self.encoder: nn.TransformerEncoder | None = None
        self.attention: nn.MultiheadAttention | None = None
        if options.encoder:
            layer = nn.TransformerEncoderLayer(
                dim, heads, dim_feedforward=dim, dropout=options.dropout, batch_first=True
            )
            self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        else:
            self.attention = nn.MultiheadAttention(dim, heads, dropout=options.dropout, batch_first=True)

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        tokens_BKD = torch.stack(features_KBD, dim=1)
        if self.encoder is not None:
            attended_BKD = self.encoder(tokens_BKD)
        else:
            assert self.attention is not None
            attended_BKD, _ = self.attention(tokens_BKD, tokens_BKD, tokens_BKD, need_weights=False)
        mean_BD: Tensor = attended_BKD.mean(dim=1)
        return mean_BD
