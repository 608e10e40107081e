from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from core.losses.ambiguity import decompose

K, B, C = 4, 50, 6
LABELS = torch.arange(B) % C
MIXED = 0.3 * F.one_hot(LABELS, C).float() + 0.7 * F.one_hot(LABELS.roll(1), C).float()


def expert_logits(scale: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [scale * torch.randn(B, C, generator=generator) for _ in range(K)]


@pytest.mark.parametrize("targets", [LABELS, MIXED], ids=["hard", "mixed"])
@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0])
def test_the_ensembles_loss_is_the_average_loss_minus_the_ambiguity(targets: torch.Tensor, scale: float) -> None:
    logits = expert_logits(scale)
    parts = decompose(logits, targets)
    assert torch.allclose(parts.ensemble_loss, parts.average_loss - parts.ambiguity, rtol=0, atol=1e-6)
    # By their definitions, each computed by itself.
    probabilities = targets.double() if targets.ndim == 2 else F.one_hot(targets, C).double()
    each = torch.stack([-(probabilities * z.double().log_softmax(1)).sum(1) for z in logits])
    mean = torch.stack(logits).double().mean(0).log_softmax(1)
    divergences = [F.kl_div(z.double().log_softmax(1), mean, reduction="none", log_target=True).sum(1) for z in logits]
    assert torch.allclose(parts.average_loss, each.mean(0), rtol=1e-9, atol=1e-9)
    assert torch.allclose(parts.ensemble_loss, -(probabilities * mean).sum(1), rtol=1e-9, atol=1e-9)
    assert torch.allclose(parts.ambiguity, torch.stack(divergences).mean(0), rtol=1e-9, atol=1e-9)


def test_experts_that_agree_have_no_ambiguity_and_others_have() -> None:
    one = expert_logits(2.0)[0]
    assert decompose([one, one + 5.0], LABELS).ambiguity.abs().max() < 1e-12
    assert (decompose(expert_logits(2.0), LABELS).ambiguity > 0).all()
