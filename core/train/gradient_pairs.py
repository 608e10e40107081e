"""The gradients of two losses by the same parameters: their cosine, their conflicts, and PCGrad (arXiv:2001.06782).

T parameter tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Keeps divisions by the squared norm of a zero gradient finite; the numerator is zero then.
_TINY = 1e-60


class Products(NamedTuple):
    """Dot products of two gradients, and their squared norms, for each parameter tensor (T,)."""

    dots: Tensor
    first_squared: Tensor
    second_squared: Tensor


def products(first: Sequence[Tensor], second: Sequence[Tensor]) -> Products:
    """The products of two gradients, given as one tensor for each parameter."""
    dots = [torch.dot(a.reshape(-1), b.reshape(-1)) for a, b in zip(first, second, strict=True)]
    norms = [torch.stack(torch._foreach_norm(list(gradients))) for gradients in (first, second)]
    return Products(torch.stack(dots).double(), norms[0].double().square(), norms[1].double().square())


def cosine(pair: Products) -> Tensor:
    """The cosine between two gradients over all parameters together; 0 where one of them is zero."""
    return pair.dots.sum() / (pair.first_squared.sum() * pair.second_squared.sum()).sqrt().clamp_min(_TINY)


def conflicts(pair: Products) -> Tensor:
    """The fraction of parameter tensors for which two gradients conflict: their dot product is negative."""
    return (pair.dots < 0).double().mean()


def project_and_sum(first: Sequence[Tensor], second: Sequence[Tensor], pair: Products) -> list[Tensor]:
    """The sum of two gradients, each projected onto the normal plane of the other where they conflict.

    g' = g - (g . h / |h|^2) h and likewise h', both from the original gradients, so that the order of the losses does
    not matter. Deviation from algorithm 1 of the paper: it projects the whole gradient, here every parameter tensor is
    projected by itself.
    """
    conflict_T = pair.dots.clamp_max(0.0)
    # g' + h' = (1 - g . h / |g|^2) g + (1 - g . h / |h|^2) h
    weights_first_T = (1.0 - conflict_T / pair.first_squared.clamp_min(_TINY)).float()
    weights_second_T = (1.0 - conflict_T / pair.second_squared.clamp_min(_TINY)).float()
    return [
        a * weight_a + b * weight_b
        for a, b, weight_a, weight_b in zip(
            first, second, weights_first_T.unbind(), weights_second_T.unbind(), strict=True
        )
    ]
