"""What a job will be, before it costs anything: the model built on the meta device, rates, schedules, steps, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.data import DatasetInfo, DataShape, describe_dataset
from core.experts import detect_feature_dim
from core.model.assemble import Sources, build_model, complete_spec
from core.model.model import MultiExpertModel
from core.plan.augmentation import ResolvedAugmentation, resolve_augmentation
from core.plan.data_size import DataSize, data_size
from core.policies import Rate, describe_schedule, resolve_rates
from core.spec import FUSION_TYPES, ComponentName, EvaluateJob, ExpertJob, JobSpec, Schedule


@dataclass(frozen=True)
class Plan:
    """A complete specification and all that follows from it.

    `parameters` has a count for every expert, fusion, head and the total; `checkpoint_bytes` is one checkpoint (weights
    and optimizer state), `activation_bytes` what one training batch holds for the backward pass (None if not
    asked for): both are estimates.
    """

    spec: JobSpec
    info: DatasetInfo
    size: DataSize
    feature_dims: tuple[int, ...]
    input_dim: int
    adapters: tuple[bool, ...]
    parameters: dict[str, int]
    rates: dict[ComponentName, Rate]
    schedules: dict[ComponentName, str]
    augmentation: ResolvedAugmentation
    steps_per_epoch: int
    steps: int
    checkpoint_bytes: int
    activation_bytes: int | None

    def to_json(self) -> dict[str, Any]:
        """The plan as `plan --json` prints it."""
        training = self.spec.training
        policies = {name: getattr(training.components, name) for name in self.rates}
        fused = not isinstance(self.spec, ExpertJob)
        recipe = FUSION_TYPES[self.spec.fusion.type].recipe if fused and self.spec.fusion.type else None  # type: ignore[union-attr]
        return {
            "kind": self.spec.kind,
            "dataset": {
                "name": self.spec.dataset.name,
                "classes": len(self.info.class_names),
                "channels": self.info.channels,
                "image_size": self.info.image_size,
                "train": self.size.train,
                "val": self.size.val,
                "test": self.info.num_test,
                "exact": self.size.exact,
            },
            "feature_dims": list(self.feature_dims),
            "input_dim": self.input_dim,
            "adapters": [f"expert_{k}" for k, needed in enumerate(self.adapters) if needed],
            "parameters": self.parameters,
            "learning_rates": {name: rate.value for name, rate in self.rates.items()},
            "learning_rates_why": {name: rate.why for name, rate in self.rates.items()},
            "schedules": self.schedules,
            "policies": {
                name: {
                    "optimizer": policy.optimizer,
                    "clip_norm": policy.clip_norm,
                    "accumulation_steps": policy.accumulation_steps,
                    "weight_decay": policy.weight_decay,
                    "frozen": policy.frozen,
                }
                for name, policy in policies.items()
            },
            "clip_norm": training.clip_norm,
            "loss": training.loss.model_dump(),
            "augmentation": self.augmentation.recipe.model_dump(mode="json"),
            "augmentation_left_out": list(self.augmentation.left_out),
            "expected_accuracy": {"cifar100_baseline": recipe.baseline, "cifar100_augmented": recipe.augmented}
            if recipe
            else None,
            "epochs": training.epochs,
            "batch_size": training.batch_size,
            "steps_per_epoch": self.steps_per_epoch,
            "steps": self.steps,
            "checkpoint_bytes": self.checkpoint_bytes,
            "activation_bytes": self.activation_bytes,
        }


def make_plan(spec: JobSpec, data_roots: Sequence[Path], sources: Sources, *, activations: bool = True) -> Plan:
    """Plans a specification with the components it names; raises ValueError (ComponentError) where it cannot be.

    Reckoning the `activations` takes seconds, and only a person wants to know them.
    """
    spec = complete_spec(spec, sources)
    info = describe_dataset(spec.dataset, data_roots)
    size = data_size(spec, info, data_roots)
    shape = DataShape(info.channels, info.image_size, size.num_classes)
    with torch.device("meta"):
        model = build_model(spec, shape)
    dims = model.feature_dims()
    if activations:
        # Detecting takes seconds of imports, so only a plan that a person asked for makes sure of the dimensions.
        found = [detect_feature_dim(model.expert(k), shape.channels, shape.image_size) for k in range(len(dims))]
        assert dims == found, f"experts say {dims}, their features have {found}"
    input_dim = model.fusion.input_dim if model.fusion else dims[0]
    rates = resolve_rates(spec, input_dim)
    epochs, batch_size = spec.training.epochs, spec.training.batch_size
    assert epochs is not None
    assert batch_size is not None
    per_epoch = max(1, size.train // batch_size)
    if isinstance(spec, EvaluateJob):
        per_epoch = epochs = 0
    state_bytes = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    return Plan(
        spec=spec,
        info=info,
        size=size,
        feature_dims=tuple(dims),
        input_dim=input_dim,
        adapters=tuple(dim != input_dim for dim in dims),
        parameters=count_parameters(model),
        rates=rates,
        schedules={name: _schedule(spec, name, epochs) for name in rates},
        augmentation=resolve_augmentation(spec, info),
        steps_per_epoch=per_epoch,
        steps=per_epoch * epochs,
        checkpoint_bytes=state_bytes + sum(_state_bytes(spec, name, model) for name in rates),
        activation_bytes=_activation_bytes(model, shape, min(batch_size, size.train)) if activations else None,
    )


def count_parameters(model: MultiExpertModel) -> dict[str, int]:
    """Parameters of every expert, of fusion and head where there are any, and in total."""
    counted = {f"expert_{k}": _count(expert) for k, expert in enumerate(model.experts)}
    if model.fusion is not None and model.head is not None:
        counted |= {"fusion": _count(model.fusion), "head": _count(model.head)}
    return counted | {"total": sum(counted.values())}


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _schedule(spec: JobSpec, name: ComponentName, epochs: int) -> str:
    schedule = getattr(spec.training.components, name).schedule
    assert isinstance(schedule, Schedule)
    return describe_schedule(schedule, epochs)


def _state_bytes(spec: JobSpec, name: ComponentName, model: MultiExpertModel) -> int:
    """Optimizer state: two moments a parameter for AdamW, one for SGD with momentum."""
    moments = 1 if getattr(spec.training.components, name).optimizer == "sgd" else 2
    parameters = (p for p in model.components()[name].parameters() if p.requires_grad)
    return sum(p.numel() * p.element_size() for p in parameters) * moments


def _activation_bytes(model: MultiExpertModel, shape: DataShape, batch_size: int) -> int:
    """The outputs of all leaf modules for one batch in float32, which is about what autograd keeps."""
    total = 0

    def count(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal total
        if isinstance(output, torch.Tensor):
            total += output.numel() * output.element_size()

    handles = [module.register_forward_hook(count) for module in model.modules() if not list(module.children())]
    images = torch.empty(2, shape.channels, shape.image_size, shape.image_size, device="meta")
    model(images)
    for handle in handles:
        handle.remove()
    return total * batch_size // 2
