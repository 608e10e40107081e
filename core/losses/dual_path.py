"""The loss of both paths: the fused prediction, every expert alone, and what experts learn from each other.

B batch, K experts, C classes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from core.losses.distillation import mutual_distillation
from core.spec import Loss


class LossParts(NamedTuple):
    """Scalars: the total, and its parts before lambda and the distillation's weight."""

    total: Tensor
    global_: Tensor
    individual: Tensor
    distillation: Tensor


class DualPathLoss:
    """L = CE(fused, y) + lambda * reduce_k CE(z_k, y) + w * KD(z_1 .. z_K), in float32."""

    def __init__(
        self,
        *,
        lambda_individual: float = 1.0,
        individual_reduction: Literal["sum", "mean"] = "sum",
        distillation_weight: float = 0.1,
        distillation_temperature: float = 2.0,
        label_smoothing: float = 0.0,
    ) -> None:
        self.lambda_individual = lambda_individual
        self.individual_reduction = individual_reduction
        self.distillation_weight = distillation_weight
        self.distillation_temperature = distillation_temperature
        self.label_smoothing = label_smoothing

    @classmethod
    def from_spec(cls, loss: Loss) -> DualPathLoss:
        """The loss of a resolved specification."""
        assert loss.distillation_weight is not None
        assert loss.label_smoothing is not None
        return cls(
            lambda_individual=loss.lambda_individual,
            individual_reduction=loss.individual_reduction,
            distillation_weight=loss.distillation_weight,
            distillation_temperature=loss.distillation_temperature,
            label_smoothing=loss.label_smoothing,
        )

    def __call__(self, fused_BC: Tensor | None, experts: list[Tensor], targets: Tensor) -> LossParts:
        """Fused logits (B, C), K experts' logits (B, C), and targets: (B,) class ids or (B, C) shares of each class.

        Without a fused prediction one expert is trained alone, and the total is its cross-entropy; without experts
        (they are frozen) the total is that of the fused prediction.
        """
        if not experts:
            assert fused_BC is not None
            global_ = self._cross_entropy(fused_BC, targets)
            zero = torch.zeros_like(global_)
            return LossParts(global_, global_, zero, zero)
        individual = self._individual(experts, targets)
        zero = torch.zeros_like(individual)
        if fused_BC is None:
            return LossParts(individual, zero, individual, zero)
        global_ = self._cross_entropy(fused_BC, targets)
        total = global_ + self.lambda_individual * individual
        distillation = zero
        if self.distillation_weight and len(experts) > 1:
            distillation = mutual_distillation(experts, self.distillation_temperature)
            total = total + self.distillation_weight * distillation
        return LossParts(total, global_, individual, distillation)

    def _individual(self, experts: list[Tensor], targets: Tensor) -> Tensor:
        """All experts in one call: the mean over K * B rows, times K for the sum over experts."""
        repeats = (len(experts),) + (1,) * (targets.ndim - 1)
        mean = self._cross_entropy(torch.cat(experts), targets.repeat(repeats))
        return mean * len(experts) if self.individual_reduction == "sum" else mean

    def _cross_entropy(self, logits_NC: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits_NC.float(), targets, label_smoothing=self.label_smoothing)
