from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.losses import DualPathLoss
from core.losses.multiple_choice import temperature_at, winners
from core.spec import IndividualLoss
from core.spec.individual_loss import resolve_individual

K, B, C = 4, 23, 5
LABELS = torch.arange(B) % C
SOFT = 0.3 * F.one_hot(LABELS, C).float() + 0.7 * F.one_hot(LABELS.roll(1), C).float()
TARGETS = pytest.mark.parametrize("targets", [LABELS, SOFT], ids=["hard", "soft"])
SMOOTHING = pytest.mark.parametrize("smoothing", [0.0, 0.1])
TYPES = ("sum", "mean", "wta", "relaxed", "annealed", "confident")


def logits(count: int = K, scale: float = 2.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [(scale * torch.randn(B, C, generator=generator)).requires_grad_() for _ in range(count)]


def individual(kind: str, **options: Any) -> IndividualLoss:
    return resolve_individual(IndividualLoss.model_validate({"type": kind, **options}), None)[0]


def loss_and_gradients(
    loss: IndividualLoss, targets: Tensor, smoothing: float = 0.0, count: int = K, scale: float = 2.0
) -> tuple[Tensor, Tensor]:
    """The individual loss at the first step, and its gradient at the logits (K, B, C)."""
    experts = logits(count, scale)
    parts = DualPathLoss(individual=loss, label_smoothing=smoothing)(None, experts, targets)
    parts.individual.backward()
    return parts.individual.detach(), torch.stack(
        [z.grad if z.grad is not None else torch.zeros(B, C) for z in experts]
    )


def cross_entropies(targets: Tensor, smoothing: float, scale: float = 2.0) -> Tensor:
    """By the definition, image by image (K, B), in float64."""
    probabilities = F.one_hot(targets, C).double() if targets.ndim == 1 else targets.double()
    probabilities = probabilities * (1 - smoothing) + smoothing / C
    return torch.stack([-(probabilities * z.double().log_softmax(1)).sum(1) for z in logits(scale=scale)])


@TARGETS
@SMOOTHING
def test_wta_is_the_mean_of_the_smallest_losses_and_trains_the_winner_alone(targets: Tensor, smoothing: float) -> None:
    losses_KB = cross_entropies(targets, smoothing)
    loss, gradients_KBC = loss_and_gradients(individual("wta"), targets, smoothing)
    assert loss.item() == pytest.approx(losses_KB.amin(0).mean().item(), rel=1e-6)
    trained_KB = gradients_KBC.abs().sum(2) > 0
    assert torch.equal(trained_KB.int().argmax(0), losses_KB.argmin(0))
    assert trained_KB.sum(0).tolist() == [1] * B


def test_label_smoothing_and_soft_targets_decide_the_winner() -> None:
    """An expert that is sure wins without smoothing; with it the cautious one, whose smoothed loss is smaller, does."""
    sure, cautious = torch.tensor([[30.0, 0.0, 0.0]]), torch.tensor([[3.0, 0.0, 0.0]])
    for smoothing, expected in ((0.0, [1.0, 0.0]), (0.2, [0.0, 1.0])):
        parts = DualPathLoss(individual=individual("wta"), label_smoothing=smoothing)(
            None, [sure, cautious], torch.tensor([0])
        )
        assert parts.winning_shares is not None
        assert parts.winning_shares.tolist() == expected


@TARGETS
@SMOOTHING
@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.4])
def test_relaxed_gives_the_losers_epsilon_together(targets: Tensor, smoothing: float, epsilon: float) -> None:
    losses_KB = cross_entropies(targets, smoothing)
    smallest_B = losses_KB.amin(0)
    expected = (1 - epsilon) * smallest_B + epsilon * (losses_KB.sum(0) - smallest_B) / (K - 1)
    loss, _ = loss_and_gradients(individual("relaxed", epsilon=epsilon), targets, smoothing)
    assert loss.item() == pytest.approx(expected.mean().item(), rel=1e-6)


@TARGETS
@SMOOTHING
def test_annealed_weights_the_experts_by_a_softmin_without_gradient(targets: Tensor, smoothing: float) -> None:
    losses_KB = cross_entropies(targets, smoothing)
    weights_KB = (-losses_KB / 0.7).softmax(0)
    loss, gradients_KBC = loss_and_gradients(individual("annealed", temperature=0.7), targets, smoothing)
    assert loss.item() == pytest.approx((weights_KB * losses_KB).sum(0).mean().item(), rel=1e-6)
    _, sums_KBC = loss_and_gradients(individual("sum"), targets, smoothing)
    # The gradient of the sum, expert by expert and image by image, times the weight: none flows through the weights.
    assert torch.allclose(gradients_KBC, weights_KB.unsqueeze(-1).float() * sums_KBC, atol=1e-7)


@TARGETS
@SMOOTHING
def test_annealed_is_the_mean_at_a_high_temperature_and_wta_at_a_low_one(targets: Tensor, smoothing: float) -> None:
    zero = IndividualLoss.model_construct(type="annealed", temperature=0.0, final_temperature=0.0, schedule="linear")
    for annealed, limit in (
        (individual("annealed", temperature=1e8), "mean"),
        (individual("annealed", temperature=1e-6), "wta"),
        (zero, "wta"),
    ):
        loss, gradients = loss_and_gradients(annealed, targets, smoothing)
        expected, expected_gradients = loss_and_gradients(individual(limit), targets, smoothing)
        difference = (gradients - expected_gradients).abs().max().item()
        print(f"{limit}: values differ by {abs(loss - expected):.1e}, gradients by {difference:.1e}")
        assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
        assert difference < 1e-6


def test_a_low_temperature_is_exact_where_losses_are_large() -> None:
    loss, gradients = loss_and_gradients(individual("annealed", temperature=1e-30), LABELS, scale=1e4)
    expected, expected_gradients = loss_and_gradients(individual("wta"), LABELS, scale=1e4)
    assert torch.equal(loss, expected)
    assert torch.equal(gradients, expected_gradients)


@TARGETS
@SMOOTHING
def test_confident_pulls_the_losers_to_the_uniform_distribution(targets: Tensor, smoothing: float) -> None:
    losses_KB = cross_entropies(targets, smoothing)
    uniform_KBC = torch.full((K, B, C), 1 / C, dtype=torch.double)
    log_probs_KBC = torch.stack(logits()).double().log_softmax(2)
    divergences_KB = (uniform_KBC * (uniform_KBC.log() - log_probs_KBC)).sum(2)
    # Of all choices of a winner, the one whose loss is smallest.
    choices_KB = losses_KB + 0.6 * (divergences_KB.sum(0) - divergences_KB)
    loss, gradients_KBC = loss_and_gradients(individual("confident", confidence_weight=0.6), targets, smoothing)
    assert loss.item() == pytest.approx(choices_KB.amin(0).mean().item(), rel=1e-6)
    assert (gradients_KBC.abs().sum(2) > 0).all()


@TARGETS
@SMOOTHING
@pytest.mark.parametrize("kind", TYPES)
def test_with_one_expert_every_type_is_its_cross_entropy(kind: str, targets: Tensor, smoothing: float) -> None:
    (expert,) = logits(1)
    expected = F.cross_entropy(expert, targets, label_smoothing=smoothing)
    expected.backward()
    loss, gradients = loss_and_gradients(individual(kind), targets, smoothing, count=1)
    assert torch.equal(loss, expected.detach())
    assert expert.grad is not None
    assert torch.equal(gradients[0], expert.grad)


@pytest.mark.parametrize("kind", TYPES)
def test_with_equal_experts_only_the_sum_is_not_on_the_scale_of_one_network(kind: str) -> None:
    (expert,) = logits(1, scale=0.0)
    parts = DualPathLoss(individual=individual(kind))(None, [expert] * K, LABELS)
    one = F.cross_entropy(expert, LABELS).item()
    assert parts.individual.item() == pytest.approx(K * one if kind == "sum" else one, rel=1e-6)


@pytest.mark.parametrize("kind", TYPES)
def test_winning_shares_are_those_of_the_smallest_losses_and_carry_no_gradient(kind: str) -> None:
    experts = logits()
    parts = DualPathLoss(individual=individual(kind, **({"confidence_weight": 0.0} if kind == "confident" else {})))(
        None, experts, LABELS
    )
    won_B = cross_entropies(LABELS, 0.0).argmin(0)
    assert parts.winning_shares is not None
    assert parts.winning_shares.tolist() == pytest.approx([(won_B == k).double().mean().item() for k in range(K)])
    assert not parts.winning_shares.requires_grad


def test_of_equal_experts_the_first_wins() -> None:
    assert winners(torch.tensor([[1.0, 2.0], [1.0, 1.0], [3.0, 1.0]])).tolist() == [[1, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize("kind", TYPES)
def test_individual_losses_are_float32_for_bfloat16_logits(kind: str) -> None:
    parts = DualPathLoss(individual=individual(kind))(None, [z.bfloat16() for z in logits()], LABELS)
    assert parts.total.dtype == torch.float32


def test_the_temperature_falls_from_the_first_to_the_last_step() -> None:
    exponential = individual("annealed", temperature=4.0, final_temperature=0.25)
    linear = individual("annealed", temperature=4.0, final_temperature=0.0, schedule="linear")
    steps = [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [temperature_at(exponential, part) for part in steps] == pytest.approx([4.0, 2.0, 1.0, 0.5, 0.25])
    assert [temperature_at(linear, part) for part in steps] == pytest.approx([4.0, 3.0, 2.0, 1.0, 0.0])
    assert DualPathLoss(individual=linear).temperature(0.5) == 2.0
    assert DualPathLoss().temperature(0.5) is None


def test_progress_reaches_the_annealed_loss() -> None:
    experts, annealed = logits(), individual("annealed", temperature=1e8, final_temperature=1e-6)
    loss = DualPathLoss(individual=annealed)
    losses_KB = cross_entropies(LABELS, 0.0)
    assert loss(None, experts, LABELS, progress=0.0).individual.item() == pytest.approx(losses_KB.mean().item())
    assert loss(None, experts, LABELS, progress=1.0).individual.item() == pytest.approx(losses_KB.amin(0).mean().item())
    assert math.isfinite(loss(None, experts, LABELS, progress=0.5).individual.item())
