"""Knowledge distillation between experts (deep mutual learning, arXiv:1706.00384).

B batch, K experts, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mutual_distillation(logits: list[Tensor], temperature: float) -> Tensor:
    """(T^2 / K) * sum_k KL(softmax(mean_{j != k} z_j / T) || softmax(z_k / T)), averaged over the batch; a scalar.

    `logits` has K tensors (B, C); for K = 1 the result is 0. No gradient flows into the teachers. Deviation from the
    paper: there each other expert is a teacher of its own, here the mean of their logits is the one teacher.
    """
    num_experts = len(logits)
    logits_KBC = torch.stack(logits).float()
    if num_experts == 1:
        return logits_KBC.sum() * 0.0
    detached_KBC = logits_KBC.detach()
    teacher_KBC = (detached_KBC.sum(dim=0) - detached_KBC) / (num_experts - 1)
    teacher_log_probs_KBC = F.log_softmax(teacher_KBC / temperature, dim=-1)
    student_log_probs_KBC = F.log_softmax(logits_KBC / temperature, dim=-1)
    kl = F.kl_div(student_log_probs_KBC, teacher_log_probs_KBC, reduction="sum", log_target=True) / logits_KBC.shape[1]
    return kl * (temperature**2 / num_experts)
