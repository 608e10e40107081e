"""The plan of a job: everything that follows from its specification, computed without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from core.experts import detect_feature_dim
from core.model.assemble import Sources, build_model, complete_spec
from core.model.model import MultiExpertModel
from core.plan.augmentation import ResolvedAugmentation, resolve_augmentation
from core.plan.data_size import DataSize
from core.plan.estimates import activation_bytes, checkpoint_bytes, count_parameters
from core.plan.optimizer_groups import optimizer_groups
from core.plan.precision import with_measured_precision
from core.policies import Rate, describe_schedule, resolve_policies, resolve_rates
from core.spec import FUSION_TYPES, ComponentPolicy, EvaluateJob, ExpertJob, GroupName, JobSpec, Schedule
from core.spec.component_choices import new_heads
from core.spec.loss_description import describe_individual_loss
from core.spec.outline import size_warnings
from core.spec.stage_settings import StageSettings, resolve_stages


@dataclass(frozen=True)
class Plan:
    """A complete specification and all that follows from it.

    `parameters` counts those of every expert, fusion, head and the total. `new_heads` are the experts that get a new
    head. A training without stages is one stage. Estimates: `checkpoint_bytes` is one checkpoint (weights and optimizer
    state), `activation_bytes` what one training batch keeps for the backward pass (None if not requested).
    """

    spec: JobSpec
    size: DataSize
    feature_dims: tuple[int, ...]
    input_dim: int
    parameters: dict[str, int]
    new_heads: tuple[int, ...]
    policies: dict[GroupName, ComponentPolicy]
    rates: dict[GroupName, Rate]
    schedules: dict[GroupName, str]
    stages: tuple[StageSettings, ...]
    augmentation: ResolvedAugmentation
    warnings: tuple[str, ...]
    steps_per_epoch: int
    steps: int
    checkpoint_bytes: int
    activation_bytes: int | None

    def to_json(self) -> dict[str, Any]:
        """The plan as `plan --json` prints it."""
        training, info = self.spec.training, self.size.info
        return {
            "kind": self.spec.kind,
            "dataset": {
                "name": self.spec.dataset.name,
                "classes": len(info.class_names),
                "channels": info.channels,
                "image_size": info.image_size,
                "train": self.size.train,
                "val": self.size.val,
                "test": info.num_test,
                "exact": self.size.exact,
            },
            "feature_dims": list(self.feature_dims),
            "input_dim": self.input_dim,
            "adapters": [f"expert_{k}" for k, dim in enumerate(self.feature_dims) if dim != self.input_dim],
            "parameters": self.parameters,
            "new_expert_heads": [f"expert_{k}" for k in self.new_heads],
            "learning_rates": {name: rate.value for name, rate in self.rates.items()},
            "learning_rates_why": {name: rate.why for name, rate in self.rates.items()},
            "schedules": self.schedules,
            "policies": {name: policy.model_dump(exclude={"lr", "schedule"}) for name, policy in self.policies.items()},
            "stages": [stage.to_json() for stage in self.stages] if training.stages else [],
            "gradients": training.gradients,
            "clip_norm": training.clip_norm,
            "precision": training.precision,
            "loss": training.loss.model_dump(),
            "individual_loss": describe_individual_loss(self.spec),
            "augmentation": self.augmentation.recipe.model_dump(mode="json"),
            "augmentation_left_out": list(self.augmentation.left_out),
            "expected_accuracy": _expected_accuracy(self.spec),
            "warnings": list(self.warnings),
            "epochs": training.epochs,
            "batch_size": training.batch_size,
            "steps_per_epoch": self.steps_per_epoch,
            "steps": self.steps,
            "checkpoint_bytes": self.checkpoint_bytes,
            "activation_bytes": self.activation_bytes,
        }


def make_plan(spec: JobSpec, size: DataSize, sources: Sources, *, activations: bool = True) -> Plan:
    """Plans a specification with data of this size and the components that it names.

    Raises ValueError (ComponentError) where they do not fit. Estimating `activations` takes seconds and also verifies
    the feature dimensions; training needs neither.
    """
    spec = with_measured_precision(complete_spec(spec, sources), sources)
    with torch.device("meta"):
        model = build_model(spec, size.shape)
    dims = model.feature_dims()
    if activations:
        _verify_feature_dims(model, size)
    input_dim = model.fusion.input_dim if model.fusion else dims[0]
    configs = {field: component.config for field, component in sources.items()}
    heads = new_heads(spec, configs, size.num_classes)
    policies = resolve_policies(spec, new_expert_heads=bool(heads))
    epochs, batch_size = spec.training.epochs, spec.training.batch_size
    assert epochs is not None
    assert batch_size is not None
    steps_per_epoch = max(1, size.train // batch_size)
    if isinstance(spec, EvaluateJob):
        steps_per_epoch = epochs = 0
    return Plan(
        spec=spec,
        size=size,
        feature_dims=tuple(dims),
        input_dim=input_dim,
        parameters=count_parameters(model),
        new_heads=heads,
        policies=policies,
        rates=resolve_rates(spec, input_dim, new_expert_heads=bool(heads)),
        schedules={name: _describe(policy, epochs) for name, policy in policies.items()},
        stages=resolve_stages(spec, input_dim, new_expert_heads=bool(heads)),
        augmentation=resolve_augmentation(spec, size.info),
        warnings=tuple(
            size_warnings(spec, input_dim, [field for field, component in sources.items() if component.is_part])
        ),
        steps_per_epoch=steps_per_epoch,
        steps=steps_per_epoch * epochs,
        checkpoint_bytes=checkpoint_bytes(model, optimizer_groups(model, heads), policies),
        activation_bytes=activation_bytes(model, size.shape, min(batch_size, size.train)) if activations else None,
    )


def _verify_feature_dims(model: MultiExpertModel, size: DataSize) -> None:
    dims = model.feature_dims()
    detected = [
        detect_feature_dim(model.expert(k), size.shape.channels, size.shape.image_size) for k in range(len(dims))
    ]
    assert dims == detected, f"experts declare feature dimensions {dims}, their features have {detected}"


def _describe(policy: ComponentPolicy, epochs: int) -> str:
    assert isinstance(policy.schedule, Schedule)
    return describe_schedule(policy.schedule, epochs)


def _expected_accuracy(spec: JobSpec) -> dict[str, Any] | None:
    """By the recipe's author, on all of CIFAR-100: an expectation, never shown as a result."""
    if isinstance(spec, ExpertJob) or spec.fusion.type is None or spec.dataset.split.holdout:
        return None
    recipe = FUSION_TYPES[spec.fusion.type].recipe
    return {"cifar100_baseline": recipe.baseline, "cifar100_augmented": recipe.augmented}
