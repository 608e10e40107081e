"""The whole model: experts, their fusion and the global head.

B batch, K experts, C classes, H height, W width.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from core.experts import Expert
from core.fusion import FusionModule
from core.spec import ComponentName


class Outputs(NamedTuple):
    """Logits of the collaborative path (B, C), if there is one, and of every expert (B, C_k)."""

    fused: Tensor | None
    experts: list[Tensor]


class MultiExpertModel(nn.Module):
    """K experts; with a fusion module and a global head, the dual-path model; without them, an expert alone.

    Components in `frozen` take no gradient and stay in evaluation mode, so that neither a weight nor a normalisation
    statistic of theirs changes.
    """

    def __init__(
        self,
        experts: Sequence[Expert],
        fusion: FusionModule | None = None,
        head: nn.Linear | None = None,
        *,
        frozen: Collection[ComponentName] = (),
    ) -> None:
        super().__init__()
        assert (fusion is None) == (head is None)
        self.experts = nn.ModuleList(experts)
        self.fusion = fusion
        self.head = head
        self.frozen = frozenset(frozen)
        for name, module in self.components().items():
            module.requires_grad_(name not in self.frozen)

    def components(self) -> dict[ComponentName, nn.Module]:
        """The modules by component; the experts are one component with one policy."""
        named: dict[ComponentName, nn.Module] = {"experts": self.experts}
        if self.fusion is not None and self.head is not None:
            named |= {"fusion": self.fusion, "head": self.head}
        return named

    def expert(self, index: int) -> Expert:
        """One of the experts."""
        expert = self.experts[index]
        assert isinstance(expert, Expert)
        return expert

    def feature_dims(self) -> list[int]:
        """Every expert's own feature dimension."""
        return [self.expert(k).feature_dim for k in range(len(self.experts))]

    def train(self, mode: bool = True) -> MultiExpertModel:
        super().train(mode)
        for name, module in self.components().items():
            if name in self.frozen:
                module.eval()
        return self

    def forward(self, images_BCHW: Tensor) -> Outputs:
        """Images, normalised, to the logits of both paths."""
        features, logits = [], []
        with torch.no_grad() if "experts" in self.frozen else nullcontext():
            for expert in self.experts:
                features_BD, logits_BC = expert(images_BCHW)
                features.append(features_BD)
                logits.append(logits_BC)
        if self.fusion is None or self.head is None:
            return Outputs(None, logits)
        return Outputs(self.head(self.fusion(features)), logits)
