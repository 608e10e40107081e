"""Loss of both paths: the fused logits, the logits of every expert, and distillation between experts.

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
    """Total loss and its terms, all scalars; the terms are not yet multiplied by their weights."""

    total: Tensor
    global_: Tensor
    individual: Tensor
    distillation: Tensor


class DualPathLoss:
    """L = CE(fused, y) + lambda * reduce_k CE(z_k, y) + w * KD(z_1 .. z_K), computed in float32."""

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
        """Builds the loss of a resolved specification."""
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
        """Computes the loss of a batch.

        `fused_BC` are the fused logits, `experts` the K experts' logits (B, C), `targets` class ids (B,) or class
        probabilities (B, C). With `fused_BC` None the total is the individual loss of an expert that is trained alone;
        with no experts (they are frozen) it is the loss of the fused logits.
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
        """One call for all experts: the mean over K * B rows, multiplied by K for the sum over experts."""
        repeats = (len(experts),) + (1,) * (targets.ndim - 1)
        mean = self._cross_entropy(torch.cat(experts), targets.repeat(repeats))
        return mean * len(experts) if self.individual_reduction == "sum" else mean

    def _cross_entropy(self, logits_NC: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits_NC.float(), targets, label_smoothing=self.label_smoothing)
