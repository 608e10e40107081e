"""What subsets of the experts reach, and Shapley values: a fair division of what all reach together among them.

K experts. A set of experts is a number whose bit k stands for expert k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SubsetAccuracies:
    """The fused accuracy without some experts.

    `accuracies` has that of every set by its name, such as `0,2`, or `none`; `without` that of all experts but one;
    `shapley` the Shapley value of each expert for the fused accuracy. With more than 10 experts only `without` is
    measured. Without any expert the accuracy is that of the class that the fused path then answers for every image:
    it is computed like all the others, from neutral elements alone.
    """

    without: list[float]
    accuracies: dict[str, float] = field(default_factory=dict)
    shapley: list[float] = field(default_factory=list)


def shapley_values(values: Sequence[float]) -> list[float]:
    """The exact Shapley value of every expert, from the value of each of the 2^K sets of experts, by its number.

    That of expert k is what it adds to the set of experts before it, averaged over all orders of the K experts:
    sum over sets S without k of |S|! (K - |S| - 1)! / K! (v(S and k) - v(S)), as arXiv:2205.00302 does for modalities.
    They sum to v(all) - v(none).
    """
    num_experts = len(values).bit_length() - 1
    assert len(values) == 1 << num_experts
    # 1 / (K (K - 1 choose |S|)) is the same weight without large factorials.
    weights = [1.0 / (num_experts * math.comb(num_experts - 1, size)) for size in range(num_experts)]
    return [
        math.fsum(
            weights[without.bit_count()] * (values[without | 1 << k] - values[without])
            for without in range(len(values))
            if not without >> k & 1
        )
        for k in range(num_experts)
    ]
