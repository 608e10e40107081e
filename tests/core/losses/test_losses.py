from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from core.losses import DualPathLoss, mutual_distillation

B, C = 7, 5


def logits(count: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(B, C, generator=generator, requires_grad=True) for _ in range(count)]


LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 1])
SOFT = 0.3 * F.one_hot(LABELS, C).float() + 0.7 * F.one_hot(LABELS.roll(1), C).float()


def reference_kd(experts: list[torch.Tensor], temperature: float) -> float:
    """The definition as a sum over experts, images and classes."""
    total = 0.0
    count = len(experts)
    for k in range(count):
        others = [experts[j].detach().double() for j in range(count) if j != k]
        teacher = (torch.stack(others).mean(0) / temperature).softmax(1)
        student = (experts[k].detach().double() / temperature).softmax(1)
        divergence = sum(
            teacher[b, c].item() * math.log(teacher[b, c].item() / student[b, c].item())
            for b in range(B)
            for c in range(C)
        )
        total += divergence / B
    return temperature**2 / count * total


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_distillation_equals_its_definition(count: int, temperature: float) -> None:
    experts = logits(count)
    assert mutual_distillation(experts, temperature).item() == pytest.approx(
        reference_kd(experts, temperature), rel=1e-5
    )


def test_distillation_of_one_expert_is_zero() -> None:
    assert mutual_distillation(logits(1), 2.0).item() == 0.0


def test_distillation_of_identical_experts_is_zero() -> None:
    (one,) = logits(1)
    assert mutual_distillation([one, one.clone(), one.clone()], 2.0).item() == pytest.approx(0.0, abs=1e-6)


def test_no_gradient_flows_into_the_teachers() -> None:
    a, b = logits(2)
    mutual_distillation([a, b.detach()], 2.0).backward()
    alone = a.grad.clone()  # type: ignore[union-attr]
    a.grad = None
    mutual_distillation([a, b], 2.0).backward()
    assert torch.allclose(a.grad, alone)  # type: ignore[arg-type]


@pytest.mark.parametrize("targets", [LABELS, SOFT], ids=["hard", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_loss_equals_its_definition(targets: torch.Tensor, smoothing: float, reduction: str) -> None:
    fused, experts = logits(1, seed=9)[0], logits(3)
    loss = DualPathLoss(
        lambda_individual=2.5,
        individual_reduction=reduction,  # type: ignore[arg-type]
        distillation_weight=0.1,
        distillation_temperature=2.0,
        label_smoothing=smoothing,
    )
    parts = loss(fused, experts, targets)
    probabilities = F.one_hot(targets, C).float() if targets.ndim == 1 else targets
    probabilities = probabilities * (1 - smoothing) + smoothing / C

    def cross_entropy(z: torch.Tensor) -> torch.Tensor:
        return -(probabilities * z.log_softmax(1)).sum(1).mean()

    each = torch.stack([cross_entropy(z) for z in experts])
    individual = each.sum() if reduction == "sum" else each.mean()
    distillation = reference_kd(experts, 2.0)
    assert parts.global_.item() == pytest.approx(cross_entropy(fused).item(), rel=1e-5)
    assert parts.individual.item() == pytest.approx(individual.item(), rel=1e-5)
    assert parts.distillation.item() == pytest.approx(distillation, rel=1e-4)
    expected = cross_entropy(fused).item() + 2.5 * individual.item() + 0.1 * distillation
    assert parts.total.item() == pytest.approx(expected, rel=1e-5)


def test_both_paths_reach_the_experts() -> None:
    fused, experts = logits(1, seed=9)[0], logits(2)
    DualPathLoss()(fused, experts, LABELS).total.backward()
    assert all(z.grad is not None and z.grad.abs().sum() > 0 for z in (fused, *experts))


def test_the_loss_of_a_single_expert_is_its_cross_entropy_without_lambda() -> None:
    (expert,) = logits(1)
    parts = DualPathLoss(lambda_individual=7.0)(None, [expert], LABELS)
    assert parts.total.item() == pytest.approx(F.cross_entropy(expert, LABELS).item())
    assert parts.global_.item() == 0.0


def test_distillation_with_weight_zero_is_not_computed() -> None:
    fused, experts = logits(1, seed=9)[0], logits(2)
    parts = DualPathLoss(distillation_weight=0.0)(fused, experts, LABELS)
    assert parts.distillation.item() == 0.0


def test_losses_are_float32_for_bfloat16_logits() -> None:
    fused, experts = logits(1, seed=9)[0].bfloat16(), [z.bfloat16() for z in logits(2)]
    assert DualPathLoss()(fused, experts, LABELS).total.dtype == torch.float32
