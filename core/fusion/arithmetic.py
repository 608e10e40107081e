"""Products and weighted sums of features, in float32 whatever the autocast type.

B batch, K experts, D common feature dimension.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Turns autocast off; the meta device, on which nothing is computed, has none."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def product(features_KBD: list[Tensor]) -> Tensor:
    """The element-wise product, by explicit multiplies.

    `Tensor.prod` along a dimension would divide by its input in the backward pass, and synchronise the device to look
    for zeros first. In bfloat16 a product of eight normalised features keeps two digits.
    """
    result_BD = features_KBD[0].float()
    for features_BD in features_KBD[1:]:
        result_BD = result_BD * features_BD.float()
    return result_BD


def weighted_sum(features_KBD: list[Tensor], weights_K: Tensor) -> Tensor:
    """The sum with weights softmax(w)."""
    shares_K = torch.softmax(weights_K.float(), dim=0)
    result_BD = features_KBD[0].float() * shares_K[0]
    for features_BD, share in zip(features_KBD[1:], shares_K[1:], strict=True):
        result_BD = result_BD + features_BD.float() * share
    return result_BD
