"""The optimizers against torch's own, and what they import."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from core.policies.optimizers import SGD, AdamW


def trained(optimizer_class: Any, **options: Any) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = optimizer_class(model.parameters(), lr=0.05, weight_decay=0.01, **options)
    images, labels = torch.randn(32, 8), torch.randint(4, (32,))
    for step in range(6):
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step == 2:
            # As a run that is resumed: the state through a new optimizer.
            state = optimizer.state_dict()
            optimizer = optimizer_class(model.parameters(), lr=0.05, weight_decay=0.01, **options)
            optimizer.load_state_dict(state)
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize(
    ("own", "torchs", "options"),
    [
        (AdamW, torch.optim.AdamW, {"fused": True}),
        (SGD, torch.optim.SGD, {"fused": True, "momentum": 0.9, "nesterov": True}),
    ],
)
def test_the_numbers_are_those_of_torch(own: Any, torchs: Any, options: dict[str, Any]) -> None:
    for mine, theirs in zip(trained(own, **options), trained(torchs, **options), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.processes
def test_training_does_not_import_the_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from core.policies.optimizers import SGD, AdamW\n"
        "weight = torch.nn.Parameter(torch.ones(2))\n"
        "for kind in (AdamW, SGD):\n"
        "    optimizer = kind([weight], lr=0.1)\n"
        "    weight.sum().backward()\n"
        "    optimizer.step()\n"
        "    optimizer.zero_grad()\n"
        "    optimizer.load_state_dict(optimizer.state_dict())\n"
        "print(*(name for name in ('torch._dynamo', 'torch._inductor') if name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
