"""The policy and base learning rate of every optimizer group: given, or by preset, fusion type and fused dimension."""

from __future__ import annotations

from dataclasses import dataclass

from core.spec.catalogue import FUSION_TYPES, expert_recipe
from core.spec.jobs import ExpertJob, JobSpec
from core.spec.recipes import PRESETS, dimension_factors
from core.spec.training import COMPONENT_NAMES, ComponentName, ComponentPolicy, GroupName


@dataclass(frozen=True)
class Rate:
    """A base learning rate and where it comes from."""

    value: float
    why: str


def resolve_policies(spec: JobSpec, *, new_expert_heads: bool = False) -> dict[GroupName, ComponentPolicy]:
    """The policy of every optimizer group of a resolved specification.

    New expert heads follow the experts' policy unless `training.components.expert_heads` is given; only their learning
    rate differs (see `resolve_rates`).
    """
    components = spec.training.components
    policies: dict[GroupName, ComponentPolicy] = {name: getattr(components, name) for name in component_names(spec)}
    if new_expert_heads:
        policies["expert_heads"] = components.expert_heads or components.experts.model_copy(update={"lr": None})
    return policies


def resolve_rates(spec: JobSpec, input_dim: int, *, new_expert_heads: bool = False) -> dict[GroupName, Rate]:
    """The base learning rate of every optimizer group of a resolved specification.

    A given rate is used unchanged. Otherwise it is the fusion type's, times the factor for the fused dimension
    `input_dim`: below 100 x1.3 for experts and x1.2 for fusion and head, above 1000 x0.7 and x0.8. New expert heads
    start untrained, like the global head, and learn at its rate.
    """
    rates: dict[GroupName, Rate] = {name: _component_rate(spec, name, input_dim) for name in component_names(spec)}
    if new_expert_heads:
        policy = spec.training.components.expert_heads
        if policy is not None and policy.lr is not None:
            rates["expert_heads"] = Rate(policy.lr, "given")
        else:
            rates["expert_heads"] = Rate(rates["head"].value, "new heads: the global head's rate")
    return rates


def component_names(spec: JobSpec) -> tuple[ComponentName, ...]:
    """The components that a job of this kind has."""
    return ("experts",) if isinstance(spec, ExpertJob) else COMPONENT_NAMES


def _component_rate(spec: JobSpec, name: ComponentName, input_dim: int) -> Rate:
    lr: float | None = getattr(spec.training.components, name).lr
    if lr is not None:
        return Rate(lr, _source(spec, name, lr))
    assert not isinstance(spec, ExpertJob), "an expert job's rate is resolved with its architecture"
    assert spec.fusion.type is not None, "the plan fills in the fusion type first"
    recipe = FUSION_TYPES[spec.fusion.type].recipe
    base = recipe.lr_experts if name == "experts" else recipe.lr_fusion
    factor = dimension_factors(input_dim)[0 if name == "experts" else 1]
    why = f"{base:g} for {spec.fusion.type}"
    if factor != 1.0:
        why += f", x{factor:g} since D = {input_dim} is {'below 100' if input_dim < 100 else 'above 1000'}"
    return Rate(base * factor, why)


def _source(spec: JobSpec, name: ComponentName, lr: float) -> str:
    """Where a rate of a resolved specification comes from: its value tells, as nothing else does by now."""
    if isinstance(spec, ExpertJob):
        arch = spec.expert.arch
        return f"the recipe of {arch}" if arch is not None and lr == expert_recipe(arch).lr else "given"
    preset = spec.training.preset
    return f"the preset {preset}" if lr == PRESETS[preset].components[name].lr else "given"
