"""The loss of an ensemble as the experts' average loss minus their ambiguity (arXiv:2301.03962).

B batch, K experts, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Decomposition(NamedTuple):
    """For every image (B,), in float64: `ensemble_loss` = `average_loss` - `ambiguity`."""

    average_loss: Tensor
    ensemble_loss: Tensor
    ambiguity: Tensor


def decompose(logits: Sequence[Tensor], targets: Tensor) -> Decomposition:
    """Decomposes the cross-entropy of the ensemble that averages the logits of K experts, each (B, C).

    That ensemble is the normalised geometric mean of the experts' probabilities q_k, the centroid combiner of
    cross-entropy (section 4 of the paper). The ambiguity is the mean over k of KL(ensemble || q_k), which equals
    -log sum_c prod_k q_k(c)^(1/K): at least 0, and the same for every target. `targets` are class ids (B,) or class
    probabilities (B, C), for which the identity holds as well.
    """
    logits_KBC = torch.stack(list(logits)).detach().double()
    log_probs_KBC = F.log_softmax(logits_KBC, dim=-1)
    mean_BC = log_probs_KBC.mean(dim=0)
    ensemble_BC = F.log_softmax(logits_KBC.mean(dim=0), dim=-1)
    return Decomposition(
        _cross_entropy(mean_BC, targets), _cross_entropy(ensemble_BC, targets), -mean_BC.logsumexp(dim=-1)
    )


def _cross_entropy(log_probs_BC: Tensor, targets: Tensor) -> Tensor:
    if targets.ndim == 1:
        return -log_probs_BC.gather(1, targets.unsqueeze(1)).squeeze(1)
    return -(targets * log_probs_BC).sum(dim=1)
