"""Loss of both paths: the fused logits, the logits of every expert, and distillation between experts.

B batch, K experts, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from core.losses.distillation import mutual_distillation
from core.losses.multiple_choice import expert_losses, multiple_choice_loss, temperature_at, winners
from core.spec import IndividualLoss, Loss
from core.spec.individual_loss import Reduction, resolve_individual


class LossParts(NamedTuple):
    """Total loss and its terms, all scalars; the terms are not yet multiplied by their weights.

    `winning_shares` (K,) is the fraction of the batch on which each expert won; None where fewer than two are trained.
    """

    total: Tensor
    global_: Tensor
    individual: Tensor
    distillation: Tensor
    winning_shares: Tensor | None = None


class DualPathLoss:
    """L = CE(fused, y) + lambda * combine_k CE(z_k, y) + w * KD(z_1 .. z_K), computed in float32.

    `individual` says how the experts' losses are combined; without a type, `individual_reduction` does. `sum` is a sum
    over experts; `mean` and all multiple-choice losses but `confident` are means, on the scale of one network's
    cross-entropy (see `multiple_choice_loss`).
    """

    def __init__(
        self,
        *,
        lambda_individual: float = 1.0,
        individual_reduction: Reduction | None = None,
        individual: IndividualLoss = IndividualLoss(),  # noqa: B008
        distillation_weight: float = 0.1,
        distillation_temperature: float = 2.0,
        label_smoothing: float = 0.0,
    ) -> None:
        self.lambda_individual = lambda_individual
        self.individual, _ = resolve_individual(individual, individual_reduction)
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
            individual=loss.individual,
            distillation_weight=loss.distillation_weight,
            distillation_temperature=loss.distillation_temperature,
            label_smoothing=loss.label_smoothing,
        )

    def temperature(self, progress: float) -> float | None:
        """The temperature of an annealed individual loss at a progress from 0 to 1; None for other types."""
        return temperature_at(self.individual, progress) if self.individual.type == "annealed" else None

    def __call__(
        self, fused_BC: Tensor | None, experts: list[Tensor], targets: Tensor, *, progress: float = 0.0
    ) -> LossParts:
        """Computes the loss of a batch.

        `fused_BC` are the fused logits, `experts` the K experts' logits (B, C), `targets` class ids (B,) or class
        probabilities (B, C). With `fused_BC` None the total is the individual loss of an expert that is trained alone;
        with no experts (they are frozen) it is the loss of the fused logits. `progress` is the part of the steps that
        train the experts that is done, from 0 at the first to 1 at the last of them; an annealed loss depends on it.
        """
        if not experts:
            assert fused_BC is not None
            global_ = self._cross_entropy(fused_BC, targets)
            zero = torch.zeros_like(global_)
            return LossParts(global_, global_, zero, zero)
        individual, shares_K = self._individual(experts, targets, progress)
        zero = torch.zeros_like(individual)
        if fused_BC is None:
            return LossParts(individual, zero, individual, zero, shares_K)
        global_ = self._cross_entropy(fused_BC, targets)
        total = global_ + self.lambda_individual * individual
        distillation = zero
        if self.distillation_weight and len(experts) > 1:
            distillation = mutual_distillation(experts, self.distillation_temperature)
            total = total + self.distillation_weight * distillation
        return LossParts(total, global_, individual, distillation, shares_K)

    def _individual(self, experts: list[Tensor], targets: Tensor, progress: float) -> tuple[Tensor, Tensor | None]:
        """The individual loss, and the share of the batch that each expert won."""
        if len(experts) > 1 and self.individual.is_multiple_choice:
            loss, won_KB = multiple_choice_loss(
                experts,
                targets,
                self.individual,
                temperature=temperature_at(self.individual, progress),
                label_smoothing=self.label_smoothing,
            )
            return loss, won_KB.mean(dim=1)
        # One call for all experts: the mean over K * B rows, multiplied by K for the sum over experts.
        repeats = (len(experts),) + (1,) * (targets.ndim - 1)
        mean = self._cross_entropy(torch.cat(experts), targets.repeat(repeats))
        if len(experts) == 1:
            return mean, None
        with torch.no_grad():
            won_KB = winners(expert_losses(experts, targets, self.label_smoothing))
        return mean * len(experts) if self.individual.type == "sum" else mean, won_KB.mean(dim=1)

    def _cross_entropy(self, logits_NC: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits_NC.float(), targets, label_smoothing=self.label_smoothing)
