"""What a specification leaves to the components that it names, filled in from their configs. Needs no torch.

Nothing is checked: a component that does not fit is refused where it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.spec.jobs import EvaluateJob, ExpertJob, JobSpec
from core.spec.models import ExpertSpec, FusionOptions, HeadOptions
from core.spec.resolve import resolve
from core.spec.stage_trainings import always_frozen

# Configs of named components by the path of the field that names them: `experts.0`, `fusion`, ..
Configs = Mapping[str, Mapping[str, Any]]


def part_config(config: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """The config of the part of a component that a field needs: a complete model has all of them."""
    if config.get("role") != "complete":
        return config
    if field == "expert" or field.startswith("experts."):
        index = int(field.removeprefix("experts.")) if field != "expert" else 0
        experts: list[Mapping[str, Any]] = config["experts"]
        return experts[index] if index < len(experts) else {}
    part: Mapping[str, Any] = config[field]
    return part


def with_component_choices(spec: JobSpec, configs: Configs) -> JobSpec:
    """The resolved specification with architectures, fusion type, fused dimension and head of its components."""
    spec = resolve(spec)
    configs = {field: part_config(config, field) for field, config in configs.items()}
    if isinstance(spec, ExpertJob):
        return resolve(spec.model_copy(update={"expert": _expert(spec.expert, configs.get("expert", {}))}))
    experts = tuple(_expert(expert, configs.get(f"experts.{k}", {})) for k, expert in enumerate(spec.experts))
    update: dict[str, Any] = {"experts": experts}
    if fusion := configs.get("fusion"):
        options = spec.fusion.continued(FusionOptions.from_config(fusion))
        update["fusion"] = spec.fusion.model_copy(update={"type": fusion["type"], **options})
        update["input_dim"] = fusion["input_dim"]
    if head := configs.get("head"):
        update["head"] = spec.head.model_copy(update=HeadOptions.from_config(head).options())
    return resolve(spec.model_copy(update=update))


def _expert(expert: ExpertSpec, config: Mapping[str, Any]) -> ExpertSpec:
    if "arch" not in config:
        return expert
    return expert.model_copy(update={"arch": config["arch"], "feature_dim": config.get("options_feature_dim")})


def new_heads(spec: JobSpec, configs: Configs, num_classes: int) -> tuple[int, ...]:
    """Indices of the experts whose own head, for other classes than the dataset's, is replaced by an untrained one.

    Experts that no stage trains keep their heads, since a new one would never learn, and so do those of evaluate jobs.
    `num_classes` is the dataset's.
    """
    if isinstance(spec, ExpertJob | EvaluateJob) or "experts" in always_frozen(spec.training):
        return ()
    classes = {k: part_config(configs.get(f"experts.{k}", {}), f"experts.{k}") for k in range(len(spec.experts))}
    everything = list(range(num_classes))
    return tuple(k for k, config in classes.items() if list(config.get("classes", everything)) != everything)
