"""The gradients of the fused path and of the individual paths, apart from each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from core.losses import DualPathLoss, LossParts
from core.model.model import MultiExpertModel
from core.runtime import Runtime
from core.train.gradient_pairs import conflicts, cosine, products, project_and_sum

COSINE = "train/gradient_cosine"
CONFLICTS = "train/gradient_conflicts"


def individual_loss(criterion: DualPathLoss, loss: LossParts) -> Tensor:
    """The part of the total loss that is not the fused path's: individual loss and distillation with their weights."""
    return criterion.lambda_individual * loss.individual + criterion.distillation_weight * loss.distillation


def has_individual_loss(criterion: DualPathLoss, num_experts: int) -> bool:
    """Whether the individual paths have any gradient."""
    return criterion.lambda_individual > 0 or (criterion.distillation_weight > 0 and num_experts > 1)


def shared_parameters(model: MultiExpertModel) -> list[nn.Parameter]:
    """The experts' trained parameters that both paths reach: all but those of their heads."""
    heads = {id(parameter) for expert in model.experts for parameter in expert.get_submodule("head").parameters()}
    return [
        parameter for parameter in model.experts.parameters() if parameter.requires_grad and id(parameter) not in heads
    ]


def other_parameters(model: MultiExpertModel) -> list[nn.Parameter]:
    """The trained parameters that only one path reaches: experts' heads, fusion module and global head."""
    shared = {id(parameter) for parameter in shared_parameters(model)}
    return [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in shared]


def gradients(loss: Tensor, parameters: Sequence[nn.Parameter], *, retain_graph: bool) -> list[Tensor]:
    """The gradient by each parameter, zero for those that the loss does not depend on."""
    grads = torch.autograd.grad(loss, parameters, retain_graph=retain_graph, allow_unused=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(parameters, grads, strict=True)
    ]


def backward_with_projection(
    model: MultiExpertModel, criterion: DualPathLoss, loss: LossParts, runtime: Runtime
) -> dict[str, Tensor]:
    """Adds the gradient of a batch to `grad`, with conflicts between both paths removed at the experts (PCGrad).

    Replaces `loss.total.backward()`. Goes through the experts twice, once for each path. Gradients are
    averaged over all processes before they are projected. Returns the cosine of the two gradients and the fraction of
    tensors in conflict, by metric key.
    """
    shared, others = shared_parameters(model), other_parameters(model)
    every = [*shared, *others]
    fused = gradients(loss.global_, every, retain_graph=True)
    individual = gradients(individual_loss(criterion, loss), every, retain_graph=False)
    runtime.average([*fused, *individual])
    count = len(shared)
    pair = products(fused[:count], individual[:count])
    combined = project_and_sum(fused[:count], individual[:count], pair)
    # Of these, one of the two gradients is zero.
    combined += torch._foreach_add(fused[count:], individual[count:])
    for parameter, gradient in zip(every, combined, strict=True):
        if parameter.grad is None:
            parameter.grad = _in_layout_of(parameter, gradient)
        else:
            parameter.grad += gradient
    return {COSINE: cosine(pair), CONFLICTS: conflicts(pair)}


def _in_layout_of(parameter: nn.Parameter, gradient: Tensor) -> Tensor:
    """Fused optimizers need gradients with the strides of their parameters."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
