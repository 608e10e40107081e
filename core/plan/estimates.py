"""Estimates of what a job costs: parameters, bytes of a checkpoint, bytes of activations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from core.data import DataShape
from core.model.model import MultiExpertModel
from core.spec import ComponentPolicy, GroupName


def count_parameters(model: MultiExpertModel) -> dict[str, int]:
    """Parameters of every expert, of fusion module and global head if there are any, and in total."""
    counts = {f"expert_{k}": _count(expert) for k, expert in enumerate(model.experts)}
    if model.fusion is not None and model.head is not None:
        counts |= {"fusion": _count(model.fusion), "head": _count(model.head)}
    return counts | {"total": sum(counts.values())}


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def checkpoint_bytes(
    model: MultiExpertModel,
    groups: Mapping[GroupName, Iterable[nn.Parameter]],
    policies: Mapping[GroupName, ComponentPolicy],
) -> int:
    """Weights and optimizer state: two moments per parameter for AdamW, one for SGD with momentum."""
    weights: int = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    moments = 0
    for name, parameters in groups.items():
        num_moments = 1 if policies[name].optimizer == "sgd" else 2
        moments += num_moments * sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    return weights + moments


def activation_bytes(model: MultiExpertModel, shape: DataShape, batch_size: int) -> int:
    """Outputs of all leaf modules for one batch in float32, which is about what autograd keeps. `model` is on meta."""
    total = 0

    def add_output(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal total
        if isinstance(output, torch.Tensor):
            total += output.numel() * output.element_size()

    leaves = [module for module in model.modules() if not list(module.children())]
    handles = [module.register_forward_hook(add_output) for module in leaves]
    model(torch.empty(2, shape.channels, shape.image_size, shape.image_size, device="meta"))
    for handle in handles:
        handle.remove()
    return total * batch_size // 2
