"""Two backward passes through one compiled forward pass. Compiling takes a minute on a CPU."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from core.losses import LossParts
from core.model.model import MultiExpertModel
from core.train.two_losses import gradients, individual_loss
from tests.core.train.test_gradient_pairs import CRITERION, IMAGES, LABELS, RUNTIME, model_of


def loss_of(model: MultiExpertModel, forward: torch.nn.Module) -> LossParts:
    outputs = forward(IMAGES)
    return CRITERION(outputs.fused, outputs.experts, LABELS)


def both(model: MultiExpertModel, forward: torch.nn.Module) -> list[Tensor]:
    loss, parameters = loss_of(model, forward), list(model.parameters())
    first = gradients(loss.global_, parameters, retain_graph=True)
    return first + gradients(individual_loss(CRITERION, loss), parameters, retain_graph=False)


@pytest.mark.soak
@pytest.mark.processes
@pytest.mark.filterwarnings("ignore")
def test_kernels_cached_for_one_backward_pass_are_not_used_for_two() -> None:
    model = model_of()
    assert model.fusion is not None
    model.fusion.eval()
    one, two = copy.deepcopy(model), copy.deepcopy(model)
    expected = both(model, model)
    # Fills the cache of compiled kernels with those that overwrite saved activations.
    loss_of(one, RUNTIME.prepare(one, compiled=True)).total.backward()
    found = both(two, RUNTIME.prepare(two, compiled=True, two_backward_passes=True))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
