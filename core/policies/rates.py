"""The learning rate of every component: preset, fusion type and fused dimension."""

from __future__ import annotations

from dataclasses import dataclass

from core.spec import COMPONENT_NAMES, FUSION_TYPES, ComponentName, ExpertJob, JobSpec
from core.spec.recipes import dimension_factors


@dataclass(frozen=True)
class Rate:
    """A learning rate and the words that explain it."""

    value: float
    why: str


def resolve_rates(spec: JobSpec, input_dim: int) -> dict[ComponentName, Rate]:
    """The base learning rate of every component of a resolved specification.

    A rate that was given is taken as it is. Otherwise it is the fusion type's, times the factor for the fused dimension
    `input_dim`: below 100 x1.3 for experts and x1.2 for fusion and head, above 1000 x0.7 and x0.8.
    """
    names: tuple[ComponentName, ...] = ("experts",) if isinstance(spec, ExpertJob) else COMPONENT_NAMES
    return {name: _rate(spec, name, input_dim) for name in names}


def _rate(spec: JobSpec, name: ComponentName, input_dim: int) -> Rate:
    given = getattr(spec.training.components, name).lr
    if given is not None:
        return Rate(given, "given, or the preset's")
    assert not isinstance(spec, ExpertJob), "an expert job's rate is resolved with its architecture"
    assert spec.fusion.type is not None, "the plan fills in the fusion type first"
    recipe = FUSION_TYPES[spec.fusion.type].recipe
    base = recipe.lr_experts if name == "experts" else recipe.lr_fusion
    factor = dimension_factors(input_dim)[0 if name == "experts" else 1]
    why = f"{base:g} for {spec.fusion.type}"
    if factor != 1.0:
        why += f", x{factor:g} since D = {input_dim} is {'below 100' if input_dim < 100 else 'above 1000'}"
    return Rate(base * factor, why)
