"""The whole model: experts, fusion module and global head.

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
from core.model.absent_expert import AbsentExpert
from core.model.head import GlobalHead
from core.spec import ComponentName


class Outputs(NamedTuple):
    """Logits of the fused path (B, C), None without a fusion module, and of the model's experts, each (B, C_k)."""

    fused: Tensor | None
    experts: list[Tensor]


class MultiExpertModel(nn.Module):
    """K experts with a fused path (fusion module and global head), or experts alone without them.

    In a partial model some of the K are AbsentExpert: the fused path goes without them.

    Components in `frozen` get no gradient and stay in evaluation mode, so that neither their weights nor their
    normalisation statistics change.
    """

    def __init__(
        self,
        experts: Sequence[Expert],
        fusion: FusionModule | None = None,
        head: GlobalHead | None = None,
        *,
        frozen: Collection[ComponentName] = (),
    ) -> None:
        super().__init__()
        assert (fusion is None) == (head is None)
        self.experts = nn.ModuleList(experts)
        self.fusion = fusion
        self.head = head
        self.freeze(frozen)

    def freeze(self, frozen: Collection[ComponentName]) -> None:
        """Freezes these components and no others."""
        self.frozen = frozenset(frozen)
        for name, module in self.components().items():
            module.requires_grad_(name not in self.frozen)
        self.train(self.training)

    def components(self) -> dict[ComponentName, nn.Module]:
        """Modules by component name; all experts together are one component with one policy."""
        modules: dict[ComponentName, nn.Module] = {"experts": self.experts}
        if self.fusion is not None and self.head is not None:
            modules |= {"fusion": self.fusion, "head": self.head}
        return modules

    def expert(self, index: int) -> Expert:
        """Expert by its index, counted from 0."""
        expert = self.experts[index]
        assert isinstance(expert, Expert)
        return expert

    def feature_dims(self) -> list[int]:
        """Feature dimension of every expert."""
        return [self.expert(k).feature_dim for k in range(len(self.experts))]

    def present_experts(self) -> list[int]:
        """The numbers of the experts that the model has; `forward` returns the logits of these."""
        return [k for k, expert in enumerate(self.experts) if not isinstance(expert, AbsentExpert)]

    def remove_expert(self, index: int) -> None:
        """Makes the model partial: without this expert and its weights."""
        self.experts[index] = AbsentExpert(self.expert(index).feature_dim)

    def train(self, mode: bool = True) -> MultiExpertModel:
        super().train(mode)
        for name, module in self.components().items():
            if name in self.frozen:
                module.eval()
        return self

    def forward(self, images_BCHW: Tensor, present_BK: Tensor | None = None) -> Outputs:
        """Maps normalised images to the logits of both paths.

        `present_BK` says which experts each image has in the fused path (None: all); the others' own paths stay.
        """
        features, logits = [], []
        with torch.no_grad() if "experts" in self.frozen else nullcontext():
            for expert in self.experts:
                if isinstance(expert, AbsentExpert):
                    features.append(expert.features(images_BCHW))
                    continue
                features_BD, logits_BC = expert(images_BCHW)
                features.append(features_BD)
                logits.append(logits_BC)
        if self.fusion is None or self.head is None:
            return Outputs(None, logits)
        if len(logits) < len(features):
            owned_K = torch.tensor([not isinstance(e, AbsentExpert) for e in self.experts], device=images_BCHW.device)
            present_BK = owned_K.expand(len(images_BCHW), -1) if present_BK is None else present_BK & owned_K
        return Outputs(self.head(self.fusion(features, present_BK)), logits)
