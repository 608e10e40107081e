"""Attention for all 2^K sets of present experts: they share queries, keys, values and the exponentials of the scores.

B batch, K experts, D fused feature dimension, A heads, E = D / A dimension of a head, T = A K, S = 2^K
sets, H outputs of the layer that follows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.fusion.arithmetic import autocast_type, without_autocast
from core.fusion.subsets import subset_masks


def project_attention(exponentials_BAKK: Tensor, value_BAKE: Tensor, layer: nn.Linear) -> Callable[[slice], Tensor]:
    """The layer's output for the mean over the attention of the experts of every set.

    `exponentials_BAKK` are the exponentials of the softmax from each query (third dimension) to each key. Returns a
    function from a range of the images to (B, S, H). For the empty set the mean is zero.
    """
    _, heads, count, head_dim = value_BAKE.shape
    # With many heads there are more weights than features.
    few_weights = heads * count <= heads * head_dim
    return (_project_values if few_weights else _project_means)(exponentials_BAKK, value_BAKE, layer)


def _project_values(exponentials_BAKK: Tensor, value_BAKE: Tensor, layer: nn.Linear) -> Callable[[slice], Tensor]:
    """Applies the layer to the values, once for all sets, and takes the weighted means of what it computes."""
    _, heads, count, _ = value_BAKE.shape
    dtype = autocast_type(value_BAKE)
    with torch.no_grad(), without_autocast(value_BAKE.device):
        weight_AEH = layer.weight.T.reshape(heads, -1, layer.out_features)
        # Matmul would copy the matrices of all heads for each image.
        value_BAKH = torch.einsum("bake,aeh->bakh", value_BAKE, weight_AEH)
        value_BTH = value_BAKH.to(dtype, memory_format=torch.contiguous_format).flatten(1, 2)
    bias_H = value_BTH.new_zeros(layer.out_features) if layer.bias is None else layer.bias.to(dtype)
    masks_SK, shares_SK = _masks_and_shares(count, exponentials_BAKK)
    masks_ST, shares_ST = masks_SK.repeat(1, heads).to(dtype), shares_SK.repeat(1, heads)
    # One large product of matrices for each image is faster than a small one for each head.
    keys_BKT = exponentials_BAKK.permute(0, 3, 1, 2).flatten(2)
    blocks_BTT = _block_diagonal(exponentials_BAKK).to(dtype)

    @torch.no_grad()
    def project(images: slice) -> Tensor:
        with without_autocast(masks_SK.device):
            sums_BST = masks_SK @ keys_BKT[images]
            # The empty set has no query either, and 0 of 0 is not a number.
            sums_BST[:, 0] = 1.0
            factors_BST = torch.div(shares_ST, sums_BST, out=sums_BST).to(dtype)
            weights_BST = (factors_BST @ blocks_BTT[images]).mul_(masks_ST)
            return torch.baddbmm(bias_H, weights_BST, value_BTH[images])

    return project


def _project_means(exponentials_BAKK: Tensor, value_BAKE: Tensor, layer: nn.Linear) -> Callable[[slice], Tensor]:
    """Takes the weighted means of the values and applies the layer to them."""
    masks_SK, shares_SK = _masks_and_shares(value_BAKE.shape[2], exponentials_BAKK)

    @torch.no_grad()
    def project(images: slice) -> Tensor:
        with without_autocast(masks_SK.device):
            sums_BASK = masks_SK @ exponentials_BAKK[images].transpose(-1, -2)
            sums_BASK[:, :, 0] = 1.0
            weights_BASK = ((shares_SK / sums_BASK) @ exponentials_BAKK[images]).mul_(masks_SK)
            mean_BSD = (weights_BASK @ value_BAKE[images]).transpose(1, 2).flatten(2)
        projected_BSH: Tensor = layer(mean_BSD)
        return projected_BSH

    return project


def _masks_and_shares(count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Which experts are in each set, as 0 or 1, and the share of each in the mean over them: (S, K)."""
    masks_SK = subset_masks(count, like.device).to(like.dtype)
    return masks_SK, masks_SK / masks_SK.sum(dim=1, keepdim=True).clamp(min=1.0)


def _block_diagonal(blocks_BAKK: Tensor) -> Tensor:
    """The matrix (B, T, T) that has one block for each head on its diagonal, and zeros beside them."""
    batch, heads, count, _ = blocks_BAKK.shape
    diagonal = blocks_BAKK.new_zeros(batch, heads, count, heads, count)
    diagonal.diagonal(dim1=1, dim2=3).copy_(blocks_BAKK.permute(0, 2, 3, 1))
    return diagonal.reshape(batch, heads * count, heads * count)
