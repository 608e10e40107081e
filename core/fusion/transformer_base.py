"""Fusion by attention: the experts are a sequence of K tokens (arXiv:1706.03762).

B batch, K experts, D fused feature dimension, A heads, E = D / A dimension of a head, H outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.fusion.absence import NeutralElements
from core.fusion.arithmetic import without_autocast
from core.fusion.base import Combine, FusionSizes
from core.fusion.subset_attention import project_attention
from core.spec import FusionOptions
from core.spec.fusion_sizes import head_count_error


class TransformerBase(Combine):
    """Multi-head self-attention across the experts, then the mean over them.

    With `encoder`, a two-layer transformer encoder with feed-forward dimension D replaces the attention. An absent
    expert is no token: it is left out of the attention and of the mean, so that there is nothing to learn for it.
    Without any expert, what the layers compute from zeros remains.

    Raises ValueError where the number of heads does not divide D; the message lists the numbers that do.
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

    @staticmethod
    def neutral_elements(value: float, sizes: FusionSizes, options: FusionOptions) -> NeutralElements:
        return NeutralElements(value, sizes.num_experts, sizes.input_dim, learned=False)

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return self._attend(torch.stack(features_KBD, dim=1), None).mean(dim=1)

    def combine_present(self, features_KBD: list[Tensor], present_BK: Tensor) -> Tensor:
        # Softmax over no token at all is not a number; the mean below leaves out what replaces it.
        ignored_BK = ~present_BK & present_BK.any(dim=1, keepdim=True)
        attended_BKD = self._attend(torch.stack(features_KBD, dim=1), ignored_BK)
        kept_BKD = torch.where(present_BK[:, :, None], attended_BKD, 0.0)
        counts_B1 = present_BK.sum(dim=1, keepdim=True)
        mean_BD = kept_BKD.sum(dim=1) / counts_B1.clamp(min=1)
        if self.attention is None:
            return mean_BD
        # Attention to nothing is 0, which the output projection maps to its bias.
        return torch.where(counts_B1 > 0, mean_BD, self.attention.out_proj.bias)

    def _attend(self, tokens_BKD: Tensor, ignored_BK: Tensor | None) -> Tensor:
        """Attention of every token to those that are not ignored: (B, K, D)."""
        if self.encoder is not None:
            encoded_BKD: Tensor = self.encoder(tokens_BKD, src_key_padding_mask=ignored_BK)
            return encoded_BKD
        assert self.attention is not None
        attended_BKD: Tensor = self.attention(
            tokens_BKD, tokens_BKD, tokens_BKD, key_padding_mask=ignored_BK, need_weights=False
        )[0]
        return attended_BKD

    def project_subsets(self, features_KBD: list[Tensor], layer: nn.Linear) -> Callable[[slice], Tensor]:
        if self.attention is None:
            return super().project_subsets(features_KBD, layer)
        # Queries, keys, values and scores are those of any set; it only decides which scores the softmax sees, and so
        # which exponentials it divides by.
        attention, tokens_BKD = self.attention, torch.stack(features_KBD, dim=1)
        batch, count, _ = tokens_BKD.shape
        with torch.no_grad(), without_autocast(tokens_BKD.device):
            projected = nn.functional.linear(tokens_BKD, attention.in_proj_weight, attention.in_proj_bias)
            query, key, value_BAKE = projected.reshape(batch, count, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
            scores_BAKK = (query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5
            # The largest score of a query may be that of an absent key: the smallest exponential must not be zero.
            exponentials_BAKK = (scores_BAKK - scores_BAKK.amax(dim=-1, keepdim=True)).clamp(min=-60.0).exp()
        return project_attention(exponentials_BAKK, value_BAKE, layer)

    def last_layers(self) -> list[nn.Module]:
        return [] if self.attention is None else [self.attention.out_proj]
