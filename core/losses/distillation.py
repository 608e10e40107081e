"""Distillation between experts: each learns from the mean of the others (deep mutual learning, arXiv:1706.00384).

B batch, K experts, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mutual_distillation(logits: list[Tensor], temperature: float) -> Tensor:
    """(T^2 / K) * sum_k KL(softmax(mean_{j != k} z_j / T) || softmax(z_k / T)), the mean over the batch; a scalar.

    `logits` has K tensors (B, C). No gradient flows into the teachers. One expert alone has nobody to learn from: 0.
    The mutual learning of the paper takes each other expert as a teacher of its own; here their mean logits are one.
    """
    num_experts = len(logits)
    logits_KBC = torch.stack(logits).float()
    if num_experts == 1:
        return logits_KBC.sum() * 0.0
    fixed_KBC = logits_KBC.detach()
    teacher_KBC = (fixed_KBC.sum(dim=0) - fixed_KBC) / (num_experts - 1)
    teacher_log_KBC = F.log_softmax(teacher_KBC / temperature, dim=-1)
    student_log_KBC = F.log_softmax(logits_KBC / temperature, dim=-1)
    divergence = F.kl_div(student_log_KBC, teacher_log_KBC, reduction="sum", log_target=True) / logits_KBC.shape[1]
    return divergence * (temperature**2 / num_experts)
