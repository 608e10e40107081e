"""Products and sums of features, in float32 or better whatever the autocast type.

B batch, K experts, D fused feature dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from typing import Any

import torch
from torch import Tensor


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Switches autocast off; on the meta device there is none."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Casts half-precision tensors to float32 and leaves the others as they are."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def autocast_type(tensor: Tensor) -> torch.dtype:
    """The type in which a linear layer computes from the tensor: that of autocast, or its own without autocast."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


def product(features_KBD: Sequence[Tensor]) -> Tensor:
    """Element-wise product over the experts, by explicit multiplications.

    `Tensor.prod` along a dimension divides by its input in the backward pass and synchronises the device to look for
    zeros first. In bfloat16 a product of eight normalised features would keep two digits.
    """
    return reduce(torch.mul, map(at_least_float32, features_KBD))


def plain_sum(features_KBD: Sequence[Tensor]) -> Tensor:
    """Element-wise sum over the experts."""
    return reduce(torch.add, map(at_least_float32, features_KBD))


def weighted_sum(features_KBD: Sequence[Tensor], weights_K: Tensor) -> Tensor:
    """Element-wise sum over the experts, weighted by softmax(weights)."""
    softmax_K = torch.softmax(at_least_float32(weights_K), dim=0)
    return plain_sum([at_least_float32(f_BD) * w for f_BD, w in zip(features_KBD, softmax_K, strict=True)])
