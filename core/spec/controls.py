"""The controls of a fusion job: the jobs that a reviewer wants beside it, as specifications of their own.

Fusion pays only if it beats what the same data and the same networks reach without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.spec.catalogue import ARCHITECTURES, DATASET_FACTS
from core.spec.jobs import ExpertJob, FusionJob, JobSpec
from core.spec.load import SpecError, parse_spec
from core.spec.models import ExpertSpec
from core.spec.parameters import closest_width
from core.spec.resolve import resolve
from core.spec.seen_images import SeenBefore, seen_before, why_not_everything
from core.spec.stage_trainings import always_frozen

FROZEN = "frozen"
MATCHED = "matched"
# Why a job has no control with frozen experts: it is that itself, and nothing is missing.
THIS_JOB = "the experts of this job are frozen themselves"
# What makes the network of an expert.
_NETWORK = ("arch", "dropout", "feature_dim", "pretrained")
# What a job says of its training that holds for a single network as well.
_OWN_SETTINGS = ("batch_size", "precision", "deterministic", "compile", "select_on", "augmentation")
# Fields of a job that say nothing about what is trained; its controls have the same.
_SHARED = ("tags", "resources", "max_attempts", "checkpoint", "evaluation", "tracking")


@dataclass(frozen=True)
class ExpertRecipe:
    """How an expert of a fusion job came to be: its network and how it was trained.

    `expert` and `training` are as a user would write them; `training` is null for an expert that was never trained
    alone, and so has no recipe of its own. `seen` is what the expert saw before the job.
    """

    expert: dict[str, Any]
    training: dict[str, Any] | None
    seen: SeenBefore = None


@dataclass(frozen=True)
class Control:
    """One control by its role; `spec` is null where there cannot be one, and `absent` says why.

    Roles: `single_<k>` is one network of the kind of expert k on all the data that experts and fusion saw together, and
    all of them are the members of a deep ensemble. `frozen` is the same fusion of experts that are not trained further.
    `matched` is a single network with as many parameters as the fused model, wider and of the same family.
    """

    role: str
    spec: JobSpec | None
    absent: str | None = None


def controls(spec: FusionJob, recipes: Sequence[ExpertRecipe], parameters: int | None) -> list[Control]:
    """The controls of a fusion job as it was submitted, one recipe for each of its experts.

    `parameters` is the number of parameters of the fused model, null if it is not known yet.
    """
    unknown = [k for k, recipe in enumerate(recipes) if "arch" not in recipe.expert]
    data = _all_data(spec, recipes)
    if unknown and not isinstance(data, str):
        data = f"the architecture of expert {unknown[0]} was not known when the job was submitted"
    if isinstance(data, str):
        alone = [Control(f"single_{k}", None, data) for k in range(len(recipes))] + [Control(MATCHED, None, data)]
    else:
        alone = [_single(spec, f"single_{k}", data, recipe, k) for k, recipe in enumerate(recipes)]
        alone.append(_matched(spec, data, recipes, parameters))
    return [*alone, _frozen(spec)]


def _all_data(spec: FusionJob, recipes: Sequence[ExpertRecipe]) -> dict[str, Any] | str:
    """The dataset that has all images that experts and fusion saw together, or why no single network can have it."""
    why = why_not_everything(spec, [recipe.seen for recipe in recipes])
    if why is not None:
        return f"{why}, and no job of one network can be given exactly the images that experts and fusion saw"
    dataset = spec.dataset.model_dump(mode="json", exclude_unset=True)
    kept = {name: value for name, value in dataset.get("split", {}).items() if name in ("val", "seed", "version")}
    return dataset | {"split": kept | {"regime": "full", "num_shards": 1, "holdout": 0.0}}


def _single(spec: FusionJob, role: str, data: dict[str, Any], recipe: ExpertRecipe, k: int) -> Control:
    own = _own_settings(spec) if recipe.training is None else recipe.training
    training = own | {"seed": spec.training.seed + k}
    width = f" of width {recipe.expert['feature_dim']}" if role == MATCHED else ""
    # Other jobs and points of a sweep share it, so that it is not named after this one.
    name = f"control: one {recipe.expert['arch']}{width} on all of {spec.dataset.name}, seed {training['seed']}"
    return _control(
        spec, role, name, {"kind": "expert", "expert": recipe.expert, "dataset": data, "training": training}
    )


def _own_settings(spec: FusionJob) -> dict[str, Any]:
    """What the job itself says about how to train, for an expert without a recipe of its own.

    The rest is the recipe of its architecture: a joint training has other learning rates, and another length.
    """
    return {name: value for name, value in _as_written(spec).get("training", {}).items() if name in _OWN_SETTINGS}


def _matched(spec: FusionJob, data: dict[str, Any], recipes: Sequence[ExpertRecipe], parameters: int | None) -> Control:
    """Of the family of the first expert whose network has a width."""
    wide = [recipe for recipe in recipes if _has_width(recipe.expert["arch"])]
    if not wide:
        names = " or ".join(dict.fromkeys(str(recipe.expert["arch"]) for recipe in recipes))
        return Control(MATCHED, None, f"{names} cannot be made wider: no such network has a width to choose")
    facts = DATASET_FACTS.get(spec.dataset.name)
    if facts is None:
        why = f"how many parameters the fused model has depends on {spec.dataset.name}, which is not read at submission"
        return Control(MATCHED, None, why)
    if parameters is None:
        return Control(MATCHED, None, "how many parameters the fused model has was not known at submission")
    arch = wide[0].expert["arch"]
    width = closest_width(arch, facts.channels, facts.classes, parameters)
    wider = replace(wide[0], expert=wide[0].expert | {"feature_dim": width})
    return _single(spec, MATCHED, data, wider, 0)


def _has_width(arch: str) -> bool:
    info = ARCHITECTURES.get(arch)
    return info is not None and "feature_dim" in info.options


def _frozen(spec: FusionJob) -> Control:
    if "experts" in always_frozen(spec.training):
        return Control(FROZEN, None, THIS_JOB)
    if not all(expert.source for expert in spec.experts):
        return Control(FROZEN, None, "experts that start untrained would stay so if they were frozen")
    data = _as_written(spec)
    training = _with_frozen_experts(data.get("training", {}))
    # Without the experts' own loss there are no two gradients.
    training.pop("gradients", None)
    if training.get("stages"):
        training["stages"] = [_with_frozen_experts(stage) for stage in training["stages"]]
    data["training"] = training
    return _control(spec, FROZEN, f"{spec.name or 'fusion'}: experts frozen", data)


def _with_frozen_experts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A training, or one of its stages, in which the experts are frozen."""
    components = settings.get("components") or {}
    experts = (components.get("experts") or {}) | {"frozen": True}
    return {**settings, "components": components | {"experts": experts}}


def _as_written(spec: JobSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _control(spec: FusionJob, role: str, name: str, data: Mapping[str, Any]) -> Control:
    shared = {name: value for name, value in _as_written(spec).items() if name in _SHARED}
    # Below the job itself, so that it starts first.
    fields = {**data, **shared, "name": name[:200], "priority": max(-1000, spec.priority - 1)}
    fields.pop("controls", None)
    try:
        return Control(role, parse_spec(fields))
    except SpecError as error:
        # Such as a stage in which nothing but the experts is trained.
        return Control(role, None, f"it would not be a valid job: {error}")


def recipe_of(expert: Mapping[str, Any], source: JobSpec | None, index: int = 0) -> ExpertRecipe:
    """The recipe of a trained expert with this config, which is number `index` of the job that saved it, if known."""
    options = {name: expert.get(name) for name in _NETWORK}
    if source is not None and (trained := _expert_of(source, index)) is not None:
        # Its own specification says more than the component that was made of it.
        options |= {name: value for name, value in trained.model_dump(include=set(_NETWORK)).items() if value}
    training = None
    if isinstance(source, ExpertJob):
        training = {name: value for name, value in _as_written(source).get("training", {}).items() if name != "seed"}
    return ExpertRecipe(_written(options), training, seen_before(source, index))


def untrained_recipe(expert: Mapping[str, Any]) -> ExpertRecipe:
    """The recipe of an expert with this specification that starts untrained."""
    return ExpertRecipe(_written({name: expert.get(name) for name in _NETWORK}), None)


def _expert_of(source: JobSpec, index: int) -> ExpertSpec | None:
    if isinstance(source, ExpertJob):
        return source.expert
    resolved = resolve(source)
    assert not isinstance(resolved, ExpertJob)
    experts = resolved.experts
    return experts[index] if index < len(experts) else None


def _written(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None and value is not False}
