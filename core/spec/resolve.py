"""Completes a specification with the values of its preset, fusion type and architecture. Needs no torch."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from core.spec.catalogue import FUSION_TYPES, expert_recipe
from core.spec.dataset import SPLIT_VERSION, DatasetSpec, default_holdout
from core.spec.individual_loss import resolve_individual
from core.spec.jobs import AssembledJob, ExpertJob, HeadJob, JobSpec
from core.spec.models import ExpertSpec, FusionSpec, HeadSpec
from core.spec.recipes import HEAD_DROPOUT, PRESETS, ExpertRecipe, FusionRecipe, preset_dropout
from core.spec.training import COMPONENT_NAMES, ComponentPolicy, Components, Loss, Schedule, Training

EPOCHS = 100
BATCH_SIZE = 128

P = TypeVar("P", bound=BaseModel)


def resolve(spec: JobSpec) -> JobSpec:
    """Fills in every value that can be known without building the model. Idempotent.

    Values that depend on the fused dimension (learning rates that were not given), on the dataset (the augmentation)
    or on a component's file (an `arch` or fusion `type` that `from` determines) stay null; the plan resolves them.
    """
    resolved: JobSpec
    if isinstance(spec, ExpertJob):
        resolved = _filled(spec, training=_expert_training(spec), dataset=_dataset(spec.dataset))
        expert = _expert(spec.expert, spec.training)
        if expert.arch:
            expert = _filled(expert, dropout=expert_recipe(expert.arch).dropout)
        return _replaced(resolved, expert=expert)
    count = spec.num_experts or len(spec.experts)
    experts = spec.experts * count if len(spec.experts) == 1 else spec.experts
    fusion = _fusion(spec)
    return _replaced(
        spec,
        experts=tuple(_expert(expert, spec.training) for expert in experts),
        num_experts=count,
        fusion=fusion,
        head=_head(spec),
        training=_joint_training(spec, fusion),
        dataset=_dataset(spec.dataset),
    )


def _replaced(model: P, **values: Any) -> P:
    """A copy with other values. `model_copy` does not validate; all values come from validated models."""
    return model.model_copy(update=values)


def _filled(model: P, **values: Any) -> P:
    """A copy in which null fields, and fields that are models themselves, take the given values."""
    return _replaced(model, **{name: value for name, value in values.items() if _is_unset(getattr(model, name))})


def _is_unset(value: object) -> bool:
    return value is None or isinstance(value, BaseModel)


def _dataset(dataset: DatasetSpec) -> DatasetSpec:
    split = _filled(dataset.split, holdout=default_holdout(dataset.split.regime), version=SPLIT_VERSION)
    return _replaced(dataset, split=split)


def _fusion(spec: AssembledJob) -> FusionSpec:
    fusion, preset = spec.fusion, PRESETS[spec.training.preset]
    if fusion.type is None and fusion.source is None:
        fusion = _replaced(fusion, type="multiplicative")
    if fusion.type is None:
        return fusion
    defaults: dict[str, Any] = {"norm": fusion.type not in preset.without_norm}
    if fusion.source is None:
        if "weights" in FUSION_TYPES[fusion.type].options:
            defaults["weights"] = preset.sum_weights
        if fusion.encoder:
            defaults["encoder_dropout"] = preset.encoder_dropout
    return _filled(fusion, **defaults)


def _head(spec: AssembledJob) -> HeadSpec:
    if spec.head.source is not None:
        return spec.head
    head = _filled(spec.head, type=PRESETS[spec.training.preset].head_type)
    return _filled(head, dropout=HEAD_DROPOUT) if head.type == "mlp" else head


def _expert(expert: ExpertSpec, training: Training) -> ExpertSpec:
    return _filled(expert, dropout=preset_dropout(training.preset, expert.arch))


def _joint_training(spec: AssembledJob, fusion: FusionSpec) -> Training:
    training = spec.training
    preset = PRESETS[training.preset]
    recipe: FusionRecipe | None = FUSION_TYPES[fusion.type].recipe if fusion.type else None
    frozen = ("experts", "fusion") if isinstance(spec, HeadJob) else ()
    weight_decay = preset.weight_decay if preset.weight_decay is not None else recipe and recipe.weight_decay
    policies = {}
    for name in COMPONENT_NAMES:
        requested: ComponentPolicy = getattr(training.components, name)
        default = preset.components[name]
        policy = _filled(
            requested,
            lr=default.lr,
            clip_norm=default.clip_norm,
            accumulation_steps=default.accumulation_steps,
            schedule=default.schedule if requested.schedule is None else requested.schedule,
            weight_decay=weight_decay,
            optimizer="adamw",
        )
        policies[name] = _with_schedule(_replaced(policy, frozen=True) if name in frozen else policy)
    smoothing = preset.label_smoothing if preset.label_smoothing is not None else recipe and recipe.label_smoothing
    loss = _loss(training.loss, distillation_weight=preset.distillation_weight, label_smoothing=smoothing)
    return _replaced(
        _filled(training, epochs=_stage_epochs(training) or EPOCHS, batch_size=BATCH_SIZE, clip_norm=preset.clip_norm),
        components=Components(**policies, expert_heads=_expert_heads(training, policies["experts"])),
        loss=loss,
    )


def _loss(loss: Loss, **values: Any) -> Loss:
    """The loss with these values for null fields, and with the type of its individual loss."""
    individual, reduction = resolve_individual(loss.individual, loss.individual_reduction)
    return _replaced(_filled(loss, **values), individual=individual, individual_reduction=reduction)


def _expert_heads(training: Training, experts: ComponentPolicy) -> ComponentPolicy | None:
    """The given policy of new heads, completed by that of the experts; its learning rate follows the head's later."""
    requested = training.components.expert_heads
    if requested is None:
        return None
    defaults = experts.model_dump(exclude={"lr", "frozen", "schedule"}) | {
        "schedule": requested.schedule or experts.schedule
    }
    return _with_schedule(_filled(requested, **defaults))


def _expert_training(spec: ExpertJob) -> Training:
    training = spec.training
    if spec.expert.arch is None:
        return _replaced(training, loss=_loss(training.loss))
    recipe: ExpertRecipe = expert_recipe(spec.expert.arch)
    policy = training.components.experts
    experts = _filled(
        policy,
        lr=recipe.lr,
        clip_norm=recipe.clip_norm,
        accumulation_steps=1,
        schedule=recipe.schedule if policy.schedule is None else policy.schedule,
        weight_decay=recipe.weight_decay,
        optimizer=recipe.optimizer,
    )
    loss = _loss(training.loss, distillation_weight=0.0, label_smoothing=recipe.label_smoothing)
    return _replaced(
        _filled(training, epochs=_stage_epochs(training) or recipe.epochs, batch_size=recipe.batch_size, clip_norm=0.0),
        components=_replaced(training.components, experts=_with_schedule(experts)),
        loss=loss,
    )


def _stage_epochs(training: Training) -> int:
    return sum(stage.epochs for stage in training.stages)


def _with_schedule(policy: ComponentPolicy) -> ComponentPolicy:
    """The policy with a schedule that is given by name as a Schedule."""
    if isinstance(policy.schedule, str):
        return _replaced(policy, schedule=Schedule(type=policy.schedule))
    return policy


def defaulted(spec: BaseModel, prefix: str = "") -> list[str]:
    """The paths of fields that were not given, such as `training.epochs`, in order."""
    paths: list[str] = []
    for name, field in type(spec).model_fields.items():
        path = prefix + (field.alias or name)
        value = getattr(spec, name)
        if name not in spec.model_fields_set:
            paths.append(path)
        elif isinstance(value, BaseModel):
            paths.extend(defaulted(value, f"{path}."))
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, BaseModel):
                    paths.extend(defaulted(item, f"{path}.{index}."))
    return paths
