"""All 2^K sets of present experts at once: what several sets share is computed once.

B batch, K experts, D fused feature dimension, S = 2^K sets. A set is a number whose bit k stands for expert k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from core.fusion.arithmetic import at_least_float32, autocast_type, without_autocast


def subset_masks(num_experts: int, device: torch.device) -> Tensor:
    """Which experts are in each set, by its number: booleans (S, K)."""
    numbers_S = torch.arange(1 << num_experts, device=device)
    return (numbers_S[:, None] >> torch.arange(num_experts, device=device) & 1).bool()


class Operation(Protocol):
    """An element-wise operation such as torch.mul."""

    def __call__(self, left: Tensor, right: Tensor, /, *, out: Tensor) -> Tensor: ...


class Workspace:
    """Memory for an intermediate result that each batch computes anew.

    With fresh memory, a batch of several megabytes takes about as long to map its pages as to fill them.
    """

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def empty(self, shape: Sequence[int], like: Tensor, dtype: torch.dtype) -> Tensor:
        """A tensor of any values on the device of `like`. It overwrites the one before."""
        count = math.prod(shape)
        if self._memory is None or self._memory.dtype != dtype or self._memory.numel() < count:
            self._memory = like.new_empty(count, dtype=dtype)
        return self._memory[:count].view(*shape)


@torch.no_grad()
def fold_subsets(
    operation: Operation,
    present_KBD: Sequence[Tensor],
    absent_KD: Sequence[Tensor | None],
    workspace: Workspace | None = None,
) -> Tensor:
    """Folds one term for each expert, its present (B, D) or its absent one (D,), for every set: (B, S, D).

    Each expert doubles the sets, so that sets which agree on the first experts share their partial result: 2^(K + 1)
    operations instead of K 2^K. Every set is folded from the first expert to the last, and so rounded as if alone.
    The absent term None stands for one that changes nothing; the first expert must have another. With a `workspace`
    the result is in its memory.
    """
    first_BD = present_KBD[0]
    batch, dim = first_BD.shape
    folded_BSD = (workspace or Workspace()).empty((batch, 1 << len(present_KBD), dim), first_BD, first_BD.dtype)
    assert absent_KD[0] is not None
    folded_BSD[:, 0], folded_BSD[:, 1] = absent_KD[0], first_BD
    for k in range(1, len(present_KBD)):
        without, with_k = folded_BSD[:, : 1 << k], folded_BSD[:, 1 << k : 2 << k]
        operation(without, present_KBD[k][:, None], out=with_k)
        absent_D = absent_KD[k]
        if absent_D is not None:
            operation(without, absent_D, out=without)
    return folded_BSD


def without_neutral(absent_KD: Sequence[Tensor], value: float) -> list[Tensor | None]:
    """The absent terms of `fold_subsets`, with None for those that have the neutral value of the operation only."""
    return [term_D if k == 0 or bool((term_D != value).any()) else None for k, term_D in enumerate(absent_KD)]


@torch.no_grad()
def project_sums(
    terms_KBD: Sequence[Tensor],
    absent_KD: Sequence[Tensor],
    weights_KHD: Sequence[Tensor],
    bias_H: Tensor | None,
    workspace: Workspace | None = None,
) -> Callable[[slice], Tensor]:
    """The sum of a matrix times a term for each expert, present (B, D) or absent (D,), and of a bias, for every set.

    Returns a function from a range of the images to (B, S, H). Every term is multiplied once, for all sets, in float32.
    With a `workspace` the results are in its memory.
    """
    with without_autocast(terms_KBD[0].device):
        pairs = zip(terms_KBD, absent_KD, weights_KHD, strict=True)
        projected = [
            (at_least_float32(term_BD) @ w.T, w @ at_least_float32(element_D)) for term_BD, element_D, w in pairs
        ]
    present_KBH, absent_KH = ([pair[i] for pair in projected] for i in range(2))
    if bias_H is not None:
        present_KBH[0], absent_KH[0] = present_KBH[0] + bias_H, absent_KH[0] + bias_H
    kept_KH = without_neutral(absent_KH, 0.0)
    return lambda images: fold_subsets(torch.add, [term_BH[images] for term_BH in present_KBH], kept_KH, workspace)


@torch.no_grad()
def project_products(
    factors_KBD: Sequence[Tensor],
    absent_KD: Sequence[Tensor],
    layer: nn.Linear,
    offsets: Callable[[slice], Tensor] | None = None,
) -> Callable[[slice], Tensor]:
    """The layer's output for the product of a factor for each expert, present (B, D) or absent (D,), for every set.

    Returns a function from a range of the images to (B, S, H). With `offsets`, which is such a function too, its result
    takes the place of the layer's bias.
    """
    kept_KD = without_neutral(absent_KD, 1.0)
    dtype = autocast_type(factors_KBD[0])
    weight_DH = layer.weight.to(dtype).T
    bias_H = (torch.zeros_like(layer.weight[:, 0]) if layer.bias is None else layer.bias).to(dtype)
    folded, cast = Workspace(), Workspace()

    @torch.no_grad()
    def project(images: slice) -> Tensor:
        product_BSD = fold_subsets(torch.mul, [factor_BD[images] for factor_BD in factors_KBD], kept_KD, folded)
        if product_BSD.dtype != dtype:
            product_BSD = cast.empty(product_BSD.shape, product_BSD, dtype).copy_(product_BSD)
        product_RD = product_BSD.flatten(0, 1)
        if offsets is None:
            return torch.addmm(bias_H, product_RD, weight_DH).view(*product_BSD.shape[:2], -1)
        projected_BSH = offsets(images).to(dtype, copy=True)
        projected_BSH.flatten(0, 1).addmm_(product_RD, weight_DH)
        return projected_BSH

    return project


def merged(layers: Iterable[nn.Module]) -> nn.Sequential:
    """The layers for evaluation, with two linear layers in a row as one where that is less work.

    Between the MLP of a fusion module and a linear head there is nothing but two matrices; their product is smaller.
    The result differs from that of the layers by rounding.
    """
    kept: list[nn.Module] = []
    for layer in _flat(layers):
        before = kept[-1] if kept else None
        if isinstance(layer, nn.Linear) and isinstance(before, nn.Linear) and _is_less_work(before, layer):
            kept[-1] = _product(before, layer)
        else:
            # What a layer of this module computed belongs to nobody else.
            kept.append(nn.ReLU(inplace=True) if isinstance(layer, nn.ReLU) and before is not None else layer)
    return nn.Sequential(*kept)


def _flat(layers: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            yield from _flat(layer)
        elif not isinstance(layer, nn.Identity | nn.Dropout):
            yield layer


def _is_less_work(first: nn.Linear, second: nn.Linear) -> bool:
    middle = first.out_features
    return first.in_features * second.out_features <= middle * (first.in_features + second.out_features)


def _product(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    with torch.no_grad(), without_autocast(first.weight.device):
        weight = second.weight @ first.weight
        zeros = torch.zeros_like(weight[:, 0])
        bias = zeros + (zeros if second.bias is None else second.bias)
        bias = bias + (zeros if first.bias is None else second.weight @ first.bias)
        layer = nn.Linear(first.in_features, second.out_features, device="meta", dtype=weight.dtype)
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer
