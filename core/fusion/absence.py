"""What stands in for an expert that is absent from the fused path, and which experts are absent in training.

B batch, K experts, D fused feature dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

# Draws of a step have streams of their own, so that a new one leaves the others as they are.
_STREAM = 12


def draw_present(
    rate: float, num_experts: int, batch: int, seed: int, step: int, *, rank: int = 0, world_size: int = 1
) -> Tensor:
    """Which experts each image of a training step has: booleans (B, K) on the host, at least one true in every row.

    Each expert of each image is dropped with probability `rate`, independently. An image that would lose all of them
    keeps one, each with the same probability. Drawn for the global batch from (seed, step) alone; these are the rows of
    the `rank`-th of `world_size` equal parts, of `batch` images each.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, step], spawn_key=(_STREAM,)))
    draws = rng.random((batch * world_size, num_experts))[rank * batch : (rank + 1) * batch]
    present = (draws >= rate) | (draws == draws.max(axis=1, keepdims=True))
    return torch.from_numpy(present)


class NeutralElements(nn.Module):
    """Replaces the features of absent experts: by one learned vector (D,) for each expert, or by a fixed value.

    The vectors start at `value`. Without `learned` there is no parameter and no buffer, so that the state of a module
    that was trained without expert dropout stays what it was.
    """

    def __init__(self, value: float, num_experts: int, dim: int, *, learned: bool) -> None:
        super().__init__()
        self.value = value
        self.elements = nn.Parameter(torch.full((num_experts, dim), value)) if learned else None

    def element(self, k: int, like_BD: Tensor) -> Tensor:
        """What replaces the features of expert k: (D,), in the type and on the device of `like_BD`."""
        if self.elements is None:
            return like_BD.new_full(like_BD.shape[-1:], self.value)
        return self.elements[k].to(like_BD.dtype)

    def forward(self, features_KBD: Sequence[Tensor], present_BK: Tensor) -> list[Tensor]:
        """The features (K of (B, D)) with those of absent experts replaced; they get no gradient."""
        return [
            torch.where(present_BK[:, k, None], features_BD, self.element(k, features_BD))
            for k, features_BD in enumerate(features_KBD)
        ]
