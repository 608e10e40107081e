"""All 2^K sets of present experts: partial results that several sets share are computed once.

B batch, K experts, D fused feature dimension, S = 2^K sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

# A set of experts as a number, whose bit k says whether expert k is present; and the combined features (B, D).
Combined = tuple[int, Tensor]


def every_mask(features_KBD: Sequence[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Every set of experts, and the same as booleans (B, K) for all images."""
    num_experts, (batch, _), device = len(features_KBD), features_KBD[0].shape, features_KBD[0].device
    # One tensor for all: a copy to the device for each set would cost more than the set.
    masks_S = torch.arange(1 << num_experts, device=device)
    present_SK = (masks_S[:, None] >> torch.arange(num_experts, device=device) & 1).bool()
    for mask, present_K in enumerate(present_SK):
        yield mask, present_K.expand(batch, -1)


def fold_subsets(
    operation: Callable[[Tensor, Tensor], Tensor], present_KBD: Sequence[Tensor], absent_KBD: Sequence[Tensor]
) -> Iterator[Combined]:
    """Folds one term for each expert, its present or its absent one, from the first to the last, for every set.

    Sets that agree on the first experts share the partial result: 2^(K + 1) operations instead of K 2^K, on K tensors
    at a time, in the order of a fold of each set alone. Absent terms are (D,) or (B, D).
    """
    count, shape = len(present_KBD), present_KBD[0].shape

    def descend(k: int, mask: int, partial_BD: Tensor | None) -> Iterator[Combined]:
        if k == count:
            assert partial_BD is not None
            yield mask, partial_BD
            return
        for bit, term in ((0, absent_KBD[k]), (1, present_KBD[k])):
            folded_BD = term.expand(shape) if partial_BD is None else operation(partial_BD, term)
            yield from descend(k + 1, mask | bit << k, folded_BD)

    return descend(0, 0, None)
