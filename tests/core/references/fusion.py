"""The fusion types as formulas on named weights: nothing of `core` is used here.

B batch, K experts, D fused dimension, H hidden dimension. `w` maps names such as `mlp.0.weight` to tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layer_norm(x: Tensor, w: Weights, name: str) -> Tensor:
    """arXiv:1607.06450, eq. 3 and 4, with eps 1e-5 on the biased variance."""
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def mlp(x: Tensor, w: Weights, name: str) -> Tensor:
    return linear(linear(x, w, f"{name}.0").clamp(min=0), w, f"{name}.3")


def attention(tokens: Tensor, w: Weights, name: str, heads: int) -> Tensor:
    """Multi-head self-attention (arXiv:1706.03762, section 3.2) of tokens (B, K, D), one head after the other."""
    dim = tokens.shape[-1]
    size = dim // heads
    query, key, value = (tokens @ w[f"{name}.in_proj_weight"].T + w[f"{name}.in_proj_bias"]).split(dim, -1)
    outputs = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = torch.einsum("bqd,bkd->bqk", query[..., part], key[..., part]) / math.sqrt(size)
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        outputs.append(torch.einsum("bqk,bkd->bqd", weights, value[..., part]))
    return linear(torch.cat(outputs, -1), w, f"{name}.out_proj")


def encoder(tokens: Tensor, w: Weights, name: str, heads: int) -> Tensor:
    """Two post-norm encoder layers (arXiv:1706.03762, section 3.1)."""
    for index in range(2):
        layer = f"{name}.layers.{index}"
        tokens = layer_norm(tokens + attention(tokens, w, f"{layer}.self_attn", heads), w, f"{layer}.norm1")
        inner = linear(linear(tokens, w, f"{layer}.linear1").clamp(min=0), w, f"{layer}.linear2")
        tokens = layer_norm(tokens + inner, w, f"{layer}.norm2")
    return tokens


def softmax_sum(n: list[Tensor], w: Weights) -> Tensor:
    """sum_k e^{w_k} n_k / sum_j e^{w_j}; without weights the plain sum."""
    total = torch.zeros_like(n[0])
    if "combine.weights" not in w:
        for feature in n:
            total = total + feature
        return total
    exponentials = w["combine.weights"].exp()
    for k, feature in enumerate(n):
        total = total + exponentials[k] / exponentials.sum() * feature
    return total


def product(n: list[Tensor], shift: float = 0.0) -> Tensor:
    return torch.stack(n).add(shift).prod(0)


def combine(fusion_type: str, n: list[Tensor], w: Weights, heads: int) -> Tensor:
    match fusion_type:
        case "multiplicative":
            return product(n)
        case "multiplicativeAddition":
            return product(n) + softmax_sum(n, w)
        case "multiplicativeShifted":
            return product(n, 1.0)
        case "simpleAddition":
            return softmax_sum(n, w)
        case "concatenation":
            side_by_side = torch.cat(n, -1)
            if "combine.project.weight" in w:
                return linear(side_by_side, w, "combine.project")
            return mlp(side_by_side, w, "combine.project")
        case "TransformerBase":
            tokens = torch.stack(n, 1)
            if any(name.startswith("combine.encoder") for name in w):
                return encoder(tokens, w, "combine.encoder", heads).mean(1)
            return attention(tokens, w, "combine.attention", heads).mean(1)
    raise AssertionError(fusion_type)


def fuse(fusion_type: str, features: list[Tensor], w: Weights, heads: int = 8) -> Tensor:
    """The fused vector (B, D) of features f_k (B, D_k): adapters, norms and MLP wherever `w` has weights for them."""
    n = []
    for k, feature in enumerate(features):
        adapted = linear(feature, w, f"adapters.{k}") if f"adapters.{k}.weight" in w else feature
        n.append(layer_norm(adapted, w, f"norms.{k}") if f"norms.{k}.weight" in w else adapted)
    fused = combine(fusion_type, n, w, heads)
    return mlp(fused, w, "mlp") if "mlp.0.weight" in w else fused


def head(fused: Tensor, w: Weights) -> Tensor:
    """Logits (B, C): one linear layer, or two with ReLU between them."""
    return mlp(fused, w, "head") if "head.0.weight" in w else linear(fused, w, "head")
