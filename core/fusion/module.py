"""The fusion component: adapters, normalisation, one way to combine features, an MLP.

B batch, K experts, D fused feature dimension, D_k feature dimension of expert k, H hidden dimension.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from core.fusion.absence import NeutralElements
from core.fusion.arithmetic import at_least_float32, without_autocast
from core.fusion.base import Combine, FusionSizes, mlp
from core.fusion.subsets import merged
from core.spec import FUSION_TYPES, FusionOptions
from core.spec.models import check_fusion_options, unknown_name


class FusionModule(nn.Module):
    """Maps the features f_1 .. f_K of the experts, each (B, D_k), to one (B, D).

    D is `input_dim`, or the largest D_k. An expert of another dimension gets a Linear adapter, which belongs to the
    fusion module, so that the expert itself fits any fusion. Every expert has a LayerNorm of its own (eps 1e-5) unless
    `norm` is off. H is `hidden_dim`, or D. Without `mlp` the combined vector itself is returned.

    An expert may be absent, for all images or some. Its neutral element then takes the place of its normalised
    features: a learned one with `expert_dropout`, otherwise the fixed one of the fusion type.

    Raises ValueError for an unknown type, sizes that are not positive, and options that the type does not have.
    """

    def __init__(
        self,
        fusion_type: str,
        feature_dims: Sequence[int],
        *,
        input_dim: int | None = None,
        options: FusionOptions | None = None,
    ) -> None:
        super().__init__()
        options = options or FusionOptions()
        if fusion_type not in FUSION_TYPES:
            raise ValueError(f"unknown fusion type {fusion_type!r}: {unknown_name(fusion_type, FUSION_TYPES)}")
        if not feature_dims:
            raise ValueError("a fusion module needs at least one expert")
        check_fusion_options(fusion_type, options)
        self.feature_dims = tuple(feature_dims)
        self.num_experts = len(feature_dims)
        self.input_dim = input_dim or max(feature_dims)
        self.hidden_dim = options.hidden_dim or self.input_dim
        sizes = FusionSizes(self.num_experts, self.input_dim, self.hidden_dim)
        dims = self.feature_dims
        self.adapters = nn.ModuleList(
            nn.Identity() if dim == self.input_dim else nn.Linear(dim, self.input_dim) for dim in dims
        )
        self.norms = nn.ModuleList(
            nn.Identity() if options.norm is False else nn.LayerNorm(self.input_dim, eps=1e-5) for _ in dims
        )
        combine: Combine = pkgutil.resolve_name(FUSION_TYPES[fusion_type].implementation)(sizes, options)
        self.combine = combine
        self.mlp: nn.Module = nn.Identity()
        if options.mlp and not combine.has_own_mlp:
            self.mlp = mlp(self.input_dim, self.hidden_dim, self.input_dim, options.dropout)

    def forward(self, features_KBD: Sequence[Tensor], present_BK: Tensor | None = None) -> Tensor:
        """Maps K features, each (B, D_k), to (B, D); raises ValueError for features of other dimensions.

        `present_BK` says which experts each image has; None stands for all of them. Features of absent experts have no
        effect and get no gradient.
        """
        normed_KBD = self._normed(features_KBD)
        combined_BD = (
            self.combine(normed_KBD) if present_BK is None else self.combine.combine_present(normed_KBD, present_BK)
        )
        fused_BD: Tensor = self.mlp(combined_BD)
        return fused_BD

    def subset_layers(self, head: nn.Module) -> nn.Sequential:
        """The layers of `subset_outputs` from the first linear one to the outputs of `head`, for evaluation alone."""
        return merged([*self.combine.last_layers(), self.mlp, head])

    @torch.no_grad()
    def subset_outputs(
        self, features_KBD: Sequence[Tensor], layers: nn.Sequential, *, batch_size: int
    ) -> Iterator[Tensor]:
        """The outputs (B, C) of a head for each set of present experts, as a number whose bit k stands for expert k.

        Yields (S, B, C) for S = 2^K sets and the next `batch_size` images: up to rounding what `forward` and the head
        compute for each set. `layers` are the `subset_layers` of the head. For evaluation alone.
        """
        first, rest = layers[0], layers[1:]
        assert isinstance(first, nn.Linear)
        project = self.combine.project_subsets(self._normed(features_KBD), first)
        for start in range(0, len(features_KBD[0]), batch_size):
            outputs_BSC: Tensor = rest(project(slice(start, start + batch_size)))
            yield outputs_BSC.transpose(0, 1)

    def neutral_elements(self) -> dict[str, Tensor]:
        """The learned elements of absent experts, by their keys in the state; none without expert dropout."""
        modules = [(name, module) for name, module in self.named_modules() if isinstance(module, NeutralElements)]
        return {f"{name}.{key}": value for name, module in modules for key, value in module.state_dict().items()}

    def _normed(self, features_KBD: Sequence[Tensor]) -> list[Tensor]:
        """The experts' features, adapted and normalised: K of (B, D)."""
        dims = tuple(features_BD.shape[-1] for features_BD in features_KBD)
        if dims != self.feature_dims:
            raise ValueError(
                f"this fusion module expects features of dimensions {self.feature_dims}; these have {dims}"
            )
        adapted = [adapter(features_BD) for adapter, features_BD in zip(self.adapters, features_KBD, strict=True)]
        # In bfloat16 a product of normalised features would lose most of its digits.
        with without_autocast(adapted[0].device):
            return [norm(at_least_float32(f_BD)) for norm, f_BD in zip(self.norms, adapted, strict=True)]
