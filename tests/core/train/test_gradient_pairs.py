from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.experts import build_expert
from core.fusion import FusionModule
from core.losses import DualPathLoss
from core.model.head import build_head
from core.model.model import MultiExpertModel
from core.runtime import Runtime
from core.spec import HeadOptions
from core.train.gradient_cosine import measure_cosine
from core.train.gradient_pairs import conflicts, cosine, products, project_and_sum
from core.train.two_losses import CONFLICTS, COSINE, backward_with_projection

RUNTIME = Runtime(torch.device("cpu"), torch.float32)
CRITERION = DualPathLoss(lambda_individual=0.7, distillation_weight=0.2)
IMAGES = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(5))
LABELS = torch.arange(12) % 4


def model_of(num_experts: int = 2) -> MultiExpertModel:
    torch.manual_seed(1)
    options: dict[str, Any] = {"in_channels": 1, "image_size": 8, "feature_dim": 16}
    experts = [build_expert("convnet_small", 4, **options) for _ in range(num_experts)]
    fusion = FusionModule("concatenation", [16] * num_experts)
    return MultiExpertModel(experts, fusion, build_head(fusion.input_dim, 4, HeadOptions(type="linear")))


def losses(model: MultiExpertModel) -> tuple[Tensor, Tensor]:
    """The fused loss, and the individual one with its weights and distillation, of one forward pass."""
    torch.manual_seed(7)
    outputs = model(IMAGES)
    parts = CRITERION(outputs.fused, outputs.experts, LABELS)
    return parts.global_, 0.7 * parts.individual + 0.2 * parts.distillation


def gradients_of_each(model: MultiExpertModel) -> list[dict[str, Tensor]]:
    """The gradient of each loss by itself, from a backward pass of its own model."""
    found = []
    for index in (0, 1):
        own = copy.deepcopy(model)
        losses(own)[index].backward()
        found.append({name: p.grad for name, p in own.named_parameters() if p.grad is not None})
    return found


def reference(model: MultiExpertModel) -> dict[str, Tensor]:
    """PCGrad in plain loops over tensors: the projection of each gradient onto the other's normal plane."""
    fused, individual = gradients_of_each(model)
    combined = {}
    for name, _ in model.named_parameters():
        if name in fused and name in individual:
            g, h = fused[name].double(), individual[name].double()
            dot = (g * h).sum()
            g_projected, h_projected = g, h
            if dot < 0:
                g_projected = g - dot / (h * h).sum() * h
                h_projected = h - dot / (g * g).sum() * g
            combined[name] = g_projected + h_projected
        else:
            combined[name] = (fused.get(name, individual.get(name))).double()  # type: ignore[union-attr]
    return combined


def backward(model: MultiExpertModel) -> dict[str, Tensor]:
    torch.manual_seed(7)
    outputs = model(IMAGES)
    return backward_with_projection(model, CRITERION, CRITERION(outputs.fused, outputs.experts, LABELS), RUNTIME)


def test_pcgrad_equals_an_implementation_in_plain_loops() -> None:
    model = model_of()
    expected = reference(model)
    values = backward(model)
    assert 0 < values[CONFLICTS] < 1, "tensors with and without a conflict"
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.allclose(parameter.grad.double(), expected[name], rtol=1e-6, atol=1e-6), name


def test_pcgrad_changes_no_tensor_without_a_conflict_and_no_tensor_of_one_path() -> None:
    model = model_of()
    fused, individual = gradients_of_each(model)
    backward(model)
    plain = 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        g, h = fused.get(name), individual.get(name)
        if g is None or h is None or (g * h).sum() > 1e-6:
            expected = sum(gradient for gradient in (g, h) if gradient is not None)
            assert torch.allclose(parameter.grad, torch.as_tensor(expected), rtol=1e-5, atol=1e-7), name
            plain += 1
    assert 0 < plain < len(list(model.parameters()))
    heads = [f"experts.{k}.head.{kind}" for k in (0, 1) for kind in ("weight", "bias")]
    assert not set(heads) & set(fused)


def test_conflicting_gradients_are_projected_and_no_longer_conflict() -> None:
    g, h = torch.tensor([[3.0, 0.0]]), torch.tensor([[-2.0, 2.0]])
    pair = products([g], [h])
    assert conflicts(pair).item() == 1.0
    [combined] = project_and_sum([g], [h], pair)
    dot = (g * h).sum()
    g_projected, h_projected = g - dot / h.square().sum() * h, h - dot / g.square().sum() * g
    assert torch.allclose(combined, g_projected + h_projected)
    assert combined.tolist() == [pytest.approx([1.5, 3.5])]
    # Neither projected gradient, nor their sum, opposes one of the original ones.
    for projected in (g_projected, h_projected, combined):
        assert (projected * g).sum() >= -1e-6
        assert (projected * h).sum() >= -1e-6


def test_the_order_of_the_losses_does_not_matter_and_opposite_gradients_cancel() -> None:
    g, h = [torch.tensor([1.0, -2.0]), torch.ones(3)], [torch.tensor([0.5, 4.0]), torch.zeros(3)]
    one, other = project_and_sum(g, h, products(g, h)), project_and_sum(h, g, products(h, g))
    assert all(torch.allclose(a, b) for a, b in zip(one, other, strict=True))
    assert torch.equal(one[1], torch.ones(3))
    opposite = [-gradient for gradient in g]
    assert torch.cat(project_and_sum(g, opposite, products(g, opposite))).abs().max() < 1e-6


def test_gradients_accumulate_over_batches_in_the_layout_of_their_parameters() -> None:
    model = model_of().to(memory_format=torch.channels_last)
    backward(model)
    once = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    backward(model)
    for parameter, gradient in zip(model.parameters(), once, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, 2 * gradient, rtol=1e-4, atol=1e-7)
        assert parameter.grad.stride() == parameter.stride()


def test_the_cosine_beside_the_training_is_that_of_its_definition_and_leaves_no_trace() -> None:
    model = model_of()
    assert model.fusion is not None
    # Without dropout, so that its masks do not matter.
    model.fusion.eval()
    fused, individual = gradients_of_each(model)
    shared = [name for name in fused if name.startswith("experts.")]
    g, h = (torch.cat([of[name].reshape(-1) for name in shared]).double() for of in (fused, individual))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(9)
    draws = torch.random.get_rng_state()
    measured = measure_cosine(model, CRITERION, IMAGES, LABELS, RUNTIME, seed=1, step=2, progress=0.5)
    assert measured[COSINE].item() == pytest.approx((g @ h / (g.norm() * h.norm())).item(), abs=1e-5)
    assert torch.equal(torch.random.get_rng_state(), draws)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_gradient_of_zero_has_cosine_zero_and_no_conflict() -> None:
    pair = products([torch.ones(3)], [torch.zeros(3)])
    assert (cosine(pair).item(), conflicts(pair).item()) == (0.0, 0.0)
