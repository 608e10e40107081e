"""Fusion by attention: the experts are a sequence of K tokens (arXiv:1706.03762)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.fusion.base import Combine, FusionSizes
from core.spec import FusionOptions
from core.spec.fusion_sizes import head_count_error


class TransformerBase(Combine):
    """Multi-head self-attention across the experts, then the mean over them.

    With `encoder`, a two-layer transformer encoder with feed-forward dimension D replaces the attention. Raises
    ValueError where the number of heads does not divide D; the message lists the numbers that do.
    """

    def __init__(self, sizes: FusionSizes, options: FusionOptions) -> None:
        super().__init__(sizes, options)
        dim, heads = sizes.input_dim, options.heads
        error = head_count_error(dim, heads)
        if error is not None:
            raise ValueError(error)
        self.encoder: nn.TransformerEncoder | None = None
        self.attention: nn.MultiheadAttention | None = None
        if options.encoder:
            dropout = options.dropout if options.encoder_dropout is None else options.encoder_dropout
            layer = nn.TransformerEncoderLayer(dim, heads, dim_feedforward=dim, dropout=dropout, batch_first=True)
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
