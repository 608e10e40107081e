"""The fusion component: adapters, normalisation, one way to combine, a multilayer perceptron.

B batch, K experts, D common feature dimension, D_k an expert's own, H hidden dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from core.fusion.arithmetic import full_precision
from core.fusion.base import FusionOptions, mlp
from core.fusion.table import FUSIONS


class FusionModule(nn.Module):
    """f_1 .. f_K, each (B, D_k), to one (B, D).

    D is `input_dim`, or the largest D_k; an expert of another dimension gets a Linear adapter, which is the fusion's
    (an expert's own weights go with any fusion). Every expert has its own LayerNorm (eps 1e-5) unless `norm` is off.
    H is `hidden_dim`, or D. Without `mlp` the combined vector itself is returned.

    Raises ValueError for an unknown type, impossible sizes, and options that the type does not have.
    """

    def __init__(
        self,
        fusion_type: str,
        feature_dims: Sequence[int],
        *,
        input_dim: int | None = None,
        hidden_dim: int | None = None,
        norm: bool = True,
        mlp: bool = True,
        encoder: bool = False,
        heads: int = 8,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if fusion_type not in FUSIONS:
            raise ValueError(f"there is no fusion type {fusion_type!r}: choose one of {', '.join(FUSIONS)}")
        if not feature_dims:
            raise ValueError("fusion needs at least one expert")
        if encoder and fusion_type != "TransformerBase":
            raise ValueError(f"encoder is an option of TransformerBase, not of {fusion_type}")
        if hidden_dim is not None and hidden_dim < 1:
            raise ValueError(f"hidden_dim is {hidden_dim}; it must be at least 1")
        self.feature_dims = tuple(feature_dims)
        self.num_experts = len(feature_dims)
        self.input_dim = input_dim or max(feature_dims)
        self.hidden_dim = hidden_dim or self.input_dim
        options = FusionOptions(self.input_dim, self.num_experts, self.hidden_dim, dropout, heads, encoder, mlp)
        dims = self.feature_dims
        self.adapters = nn.ModuleList(
            nn.Identity() if dim == self.input_dim else nn.Linear(dim, self.input_dim) for dim in dims
        )
        self.norms = nn.ModuleList(nn.LayerNorm(self.input_dim, eps=1e-5) if norm else nn.Identity() for _ in dims)
        self.combine = FUSIONS[fusion_type](options)
        self.mlp = _mlp(options) if mlp and not self.combine.has_own_mlp else nn.Identity()

    def forward(self, features_KBD: Sequence[Tensor]) -> Tensor:
        """K features, each (B, D_k), to (B, D)."""
        widths = tuple(features_BD.shape[-1] for features_BD in features_KBD)
        if widths != self.feature_dims:
            raise ValueError(f"this fusion takes features of dimensions {self.feature_dims}, given: {widths}")
        adapted = [adapter(features_BD) for adapter, features_BD in zip(self.adapters, features_KBD, strict=True)]
        # A product of normalised features loses its digits in bfloat16.
        with full_precision(adapted[0].device):
            normed = [norm(features_BD.float()) for norm, features_BD in zip(self.norms, adapted, strict=True)]
        fused_BD: Tensor = self.mlp(self.combine(normed))
        return fused_BD


def _mlp(options: FusionOptions) -> nn.Sequential:
    return mlp(options.input_dim, options.hidden_dim, options.input_dim, options.dropout)
