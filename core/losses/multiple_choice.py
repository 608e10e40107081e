"""Multiple-choice losses: the experts of an image are trained with different weights, so that they can specialise.

K experts, B batch, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from core.spec import IndividualLoss


def expert_losses(logits: Sequence[Tensor], targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The cross-entropy of every expert on every image (K, B), in float32.

    `logits` has K tensors (B, C); `targets` are class ids (B,) or class probabilities (B, C).
    """
    repeats = (len(logits),) + (1,) * (targets.ndim - 1)
    losses = F.cross_entropy(
        torch.cat(list(logits)).float(), targets.repeat(repeats), reduction="none", label_smoothing=label_smoothing
    )
    return losses.view(len(logits), -1)


def winners(scores_KB: Tensor) -> Tensor:
    """1 for the expert with the lowest score on an image, 0 for the others (K, B); of equal ones the first wins."""
    return torch.zeros_like(scores_KB).scatter_(0, scores_KB.argmin(dim=0, keepdim=True), 1.0)


def relaxed_weights(losses_KB: Tensor, epsilon: float) -> Tensor:
    """1 - epsilon for the winner, epsilon / (K - 1) for every other expert (K, B); arXiv:1612.00197.

    A single expert has the weight 1. At epsilon = (K - 1) / K all weights are equal.
    """
    num_experts = len(losses_KB)
    if num_experts == 1:
        return torch.ones_like(losses_KB)
    other = epsilon / (num_experts - 1)
    return other + (1.0 - epsilon - other) * winners(losses_KB)


def annealed_weights(losses_KB: Tensor, temperature: float) -> Tensor:
    """softmin_k(loss / temperature) (K, B), detached; arXiv:2407.15580. At temperature 0 those of `winners`."""
    losses_KB = losses_KB.detach()
    if temperature == 0.0:
        return winners(losses_KB)
    # Differences stay exact where the losses themselves are large against the temperature.
    return F.softmax((losses_KB.amin(dim=0) - losses_KB) / temperature, dim=0)


def divergence_from_uniform(logits: Sequence[Tensor]) -> Tensor:
    """KL(uniform || softmax(z_k)) of every expert on every image (K, B), in float32."""
    log_probs_KBC = F.log_softmax(torch.stack(list(logits)).float(), dim=-1)
    return -log_probs_KBC.mean(dim=-1) - math.log(log_probs_KBC.shape[-1])


def multiple_choice_loss(
    logits: Sequence[Tensor],
    targets: Tensor,
    individual: IndividualLoss,
    *,
    temperature: float,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The individual loss of a batch, a scalar, and which expert won each image (K, B), without gradient.

    `individual` is resolved; `temperature` counts for `annealed` alone. The weights of `wta`, `relaxed` and `annealed`
    add up to 1 on every image: these losses are means over experts, on the scale of one network's cross-entropy.
    `confident` is the cross-entropy of the winner plus `confidence_weight` times the sum of the divergences of the
    K - 1 others. With one expert every type is its cross-entropy.

    The winner is the choice that makes the loss of the image smallest (arXiv:1606.07839): the expert with the
    smallest cross-entropy, label smoothing and soft targets included; for `confident`, whose loss also depends on who
    loses, the one with the smallest cross-entropy minus weighted divergence (arXiv:1706.03475). Weights
    carry no gradient.
    """
    losses_KB = expert_losses(logits, targets, label_smoothing)
    if individual.type == "confident":
        weight = individual.confidence_weight
        assert weight is not None
        divergences_KB = weight * divergence_from_uniform(logits)
        won_KB = winners((losses_KB - divergences_KB).detach())
        return (won_KB * losses_KB + (1.0 - won_KB) * divergences_KB).sum(dim=0).mean(), won_KB
    won_KB = winners(losses_KB.detach())
    weights_KB = won_KB
    if individual.type == "relaxed":
        assert individual.epsilon is not None
        weights_KB = relaxed_weights(losses_KB.detach(), individual.epsilon)
    elif individual.type == "annealed":
        weights_KB = annealed_weights(losses_KB, temperature)
    else:
        assert individual.type == "wta"
    return (weights_KB * losses_KB).sum(dim=0).mean(), won_KB


def temperature_at(individual: IndividualLoss, progress: float) -> float:
    """The temperature of `annealed` at a progress from 0 (its first one) to 1 (its last); 0 for every other type.

    A function of the progress alone, so that a resumed run has no state to restore. Deviation from arXiv:2407.15580:
    there a rate of decay for each epoch is chosen, here the last temperature, and the temperature falls at every step.
    """
    if individual.type != "annealed":
        return 0.0
    first, last = individual.temperature, individual.final_temperature
    assert first is not None
    assert last is not None
    if individual.schedule == "linear":
        return first + (last - first) * progress
    return float(first * (last / first) ** progress)
