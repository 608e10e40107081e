"""One joint training step of the same model in two ways: as `core` does it, and as a plain PyTorch loop would."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from core.data import DataShape
from core.losses import DualPathLoss
from core.model.assemble import build_model
from core.model.model import MultiExpertModel, Outputs
from core.plan.data_size import find_data_size
from core.plan.optimizer_groups import optimizer_groups
from core.plan.plan import make_plan
from core.policies import ComponentOptimizers
from core.runtime import Runtime
from core.spec import FusionJob, parse_spec, resolve

CLASSES = 100
Step = Callable[[], Tensor]


def joint_spec(arch: str, batch_size: int, **training: object) -> FusionJob:
    """Four experts of one architecture for CIFAR-100-like pictures."""
    spec = resolve(
        parse_spec(
            {
                "kind": "fusion",
                "experts": [{"arch": arch}],
                "num_experts": 4,
                "dataset": {"name": "cifar100"},
                "training": {"batch_size": batch_size, "epochs": 1, "augmentation": "none", **training},
                "resources": {"cpus": torch.get_num_threads()},
            }
        )
    )
    assert isinstance(spec, FusionJob)
    return spec


def joint_model(spec: FusionJob, device: torch.device) -> MultiExpertModel:
    """The model of a specification, newly initialised."""
    torch.manual_seed(0)
    return build_model(spec, DataShape(3, 32, CLASSES)).to(device)


def batch(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pictures and labels of noise: how fast they are learned does not depend on what they show."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(size, 3, 32, 32, generator=generator)
    return images.to(device), torch.randint(CLASSES, (size,), generator=generator).to(device)


def own_step(spec: FusionJob, runtime: Runtime, images: Tensor, labels: Tensor, *, compiled: bool = False) -> Step:
    """Forward, dual-path loss, backward and every component's update: `core.train.fit` without data and reports."""
    model = joint_model(spec, runtime.device).to(memory_format=torch.channels_last).train()
    plan = make_plan(spec, find_data_size(spec, []), {}, activations=False)
    updates = ComponentOptimizers(optimizer_groups(model, ()), plan.policies, plan.rates, epochs=1, clip_norm=0.0)
    criterion = DualPathLoss.from_spec(spec.training.loss)
    forward = runtime.prepare(model, compiled=compiled)
    inputs = runtime.format(images)

    def step() -> Tensor:
        with runtime.autocast():
            outputs: Outputs = forward(inputs)
        loss = criterion(outputs.fused, outputs.experts, labels)
        loss.total.backward()
        updates.step()
        return loss.total

    return step


def plain_step(spec: FusionJob, device: torch.device, images: Tensor, labels: Tensor) -> Step:
    """What one writes first: float32, one AdamW, a loop over experts' losses, `.item()` every step."""
    model = joint_model(spec, device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> Tensor:
        optimizer.zero_grad()
        outputs = model(images)
        loss = cross_entropy(outputs.fused, labels)
        for logits in outputs.experts:
            loss = loss + cross_entropy(logits, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        loss.item()
        return loss

    return step
