"""Builds the model of a specification and loads the components that it names, if they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.components import Component, load_component
from core.data import DataShape
from core.experts import Expert, build_expert, skip_random_init_on_meta
from core.fusion import FusionModule
from core.model.head import build_head
from core.model.model import MultiExpertModel
from core.spec import (
    AssembledJob,
    ComponentRef,
    EvaluateJob,
    ExpertJob,
    ExpertSpec,
    FusionOptions,
    FusionSpec,
    HeadOptions,
    HeadSpec,
    JobSpec,
    resolve,
)
from core.spec.recipes import preset_dropout
from core.spec.stage_trainings import always_frozen
from core.spec.training import Preset


class ComponentError(ValueError):
    """A named component that does not fit the specification; the message says what each side expects."""


# The components that a specification names, by the path of the field that names them: `experts.0`, `fusion`, ..
Sources = Mapping[str, Component]


def load_sources(spec: JobSpec) -> dict[str, Component]:
    """Loads and verifies the components that a specification names, by field.

    Raises ComponentError for a component that is not a file or has another role, ValueError for a file that is not a
    component, and DamagedFileError.
    """
    sources = {field: _load_source(field, ref) for field, ref in resolve(spec).sources().items()}
    absent = [field for field, component in sources.items() if component.config.get("absent")]
    if absent and not isinstance(spec, EvaluateJob):
        path = sources[absent[0]].path
        raise ComponentError(f"{absent[0]}: {path} is a partial model without this expert: it can only be evaluated")
    if isinstance(spec, EvaluateJob) and len(absent) == len(
        [field for field in sources if field.startswith("experts.")]
    ):
        raise ComponentError(
            f"experts: each names a partial model without this expert, such as {sources[absent[0]].path}"
        )
    return sources


def _load_source(field: str, ref: ComponentRef) -> Component:
    if ref.path is None:
        raise ComponentError(
            f"{field}: only the service can look up a component by job or id; here, give its file as {{path: ..}}"
        )
    component = load_component(Path(ref.path))
    role = "expert" if field.startswith("expert") else field
    if component.role == "complete":
        name = "expert_0" if field == "expert" else field.replace("experts.", "expert_")
        component = component.subcomponent(name)
    if component.role != role:
        raise ComponentError(f"{field}: {ref.path} holds a component of role {component.role}; expected role {role}")
    return component


def complete_spec(spec: JobSpec, sources: Sources) -> JobSpec:
    """Resolves a specification and fills in what it leaves to the component files; raises ComponentError."""
    spec = resolve(spec)
    preset = spec.training.preset
    if isinstance(spec, ExpertJob):
        expert = _fill_expert(spec.expert, sources.get("expert"), "expert", preset)
        return resolve(spec.model_copy(update={"expert": expert}))
    experts = tuple(
        _fill_expert(expert, sources.get(f"experts.{k}"), f"experts.{k}", preset)
        for k, expert in enumerate(spec.experts)
    )
    update: dict[str, Any] = {"experts": experts, "head": _fill_head(spec.head, sources.get("head"))}
    if source := sources.get("fusion"):
        update["fusion"] = _fill_fusion(spec.fusion, source)
        dim, num_experts = source.config["input_dim"], source.config["num_experts"]
        if spec.input_dim not in (None, dim):
            raise ComponentError(f"input_dim is {spec.input_dim}, but {source.path} has {dim}")
        update["input_dim"] = dim
        if num_experts != len(experts):
            raise ComponentError(
                f"fusion: {source.path} is for {num_experts} experts; the specification has {len(experts)}"
            )
    return resolve(spec.model_copy(update=update))


def _fill_expert(expert: ExpertSpec, source: Component | None, field: str, preset: Preset) -> ExpertSpec:
    if source is None:
        return expert
    saved = source.config
    _check_matches(f"{field}.arch", expert.arch, saved["arch"], source)
    dropout = expert.dropout
    if dropout is None:
        dropout = preset_dropout(preset, saved["arch"])
    if dropout is None:
        dropout = saved["dropout"]
    return expert.model_copy(
        update={"arch": saved["arch"], "dropout": dropout, "feature_dim": saved["options_feature_dim"]}
    )


def _fill_fusion(fusion: FusionSpec, source: Component) -> FusionSpec:
    options = FusionOptions.from_config(source.config)
    _check_matches("fusion.type", fusion.type, source.config["type"], source)
    for name in ("hidden_dim", "weights", "encoder_dropout"):
        _check_matches(f"fusion.{name}", getattr(fusion, name), getattr(options, name), source)
    return fusion.model_copy(update={"type": source.config["type"], **fusion.continued(options)})


def _fill_head(head: HeadSpec, source: Component | None) -> HeadSpec:
    if source is None:
        return head
    options = HeadOptions.from_config(source.config)
    for name, saved in options.options().items():
        _check_matches(f"head.{name}", getattr(head, name), saved, source)
    return head.model_copy(update=options.options())


def _check_matches(field: str, requested: object, saved: object, source: Component) -> None:
    if requested not in (None, saved):
        raise ComponentError(f"{field} is {requested}, but {source.path} has {saved}: remove {field}, or change it")


def build_model(spec: JobSpec, shape: DataShape) -> MultiExpertModel:
    """Builds the model of a complete specification, initialised from the global random state.

    Components that no stage trains are frozen. Under `torch.device("meta")` nothing is allocated and no random number
    is drawn.
    """
    with skip_random_init_on_meta():
        if isinstance(spec, ExpertJob):
            return MultiExpertModel([_build_expert(spec.expert, shape)])
        experts = [_build_expert(expert, shape) for expert in spec.experts]
        fusion = _build_fusion(spec, [expert.feature_dim for expert in experts])
        head = build_head(fusion.input_dim, shape.num_classes, spec.head)
    return MultiExpertModel(experts, fusion, head, frozen=always_frozen(spec.training))


def _build_expert(expert: ExpertSpec, shape: DataShape) -> Expert:
    assert expert.arch is not None, "complete_spec fills in the architecture"
    pretrained = expert.pretrained and expert.source is None and torch.get_default_device().type != "meta"
    return build_expert(
        expert.arch,
        shape.num_classes,
        in_channels=shape.channels,
        image_size=shape.image_size,
        dropout=expert.dropout,
        feature_dim=expert.feature_dim,
        pretrained=pretrained,
    )


def _build_fusion(spec: AssembledJob, feature_dims: list[int]) -> FusionModule:
    assert spec.fusion.type is not None, "complete_spec fills in the fusion type"
    return FusionModule(spec.fusion.type, feature_dims, input_dim=spec.input_dim, options=spec.fusion)


def expert_classes(
    spec: JobSpec, sources: Sources, classes: Sequence[int], *, keep_heads: bool
) -> list[tuple[int, ...]]:
    """Class ids that each expert's logits stand for: those of its component with `keep_heads`, otherwise `classes`.

    `classes` are those of the job. Raises ComponentError for an expert that would keep a head for other classes.
    """
    if isinstance(spec, ExpertJob):
        return [tuple(classes)]
    kept = [sources.get(f"experts.{k}") if keep_heads else None for k in range(len(spec.experts))]
    for k, component in enumerate(kept):
        if component and not set(component.config["classes"]) <= set(classes):
            raise ComponentError(
                f"experts.{k}: {component.path} has class {max(component.config['classes'])}, but this dataset has "
                f"{len(classes)} classes, numbered from 0: use an expert that was trained on these classes"
            )
    return [tuple(component.config["classes"] if component else classes) for component in kept]


def needs_new_head(expert: Component, classes: Sequence[int]) -> bool:
    """Whether an expert's own head is for other classes, or for the same ones in another order."""
    return list(expert.config["classes"]) != list(classes)


def load_weights(
    model: MultiExpertModel,
    sources: Sources,
    shape: DataShape,
    *,
    classes: Sequence[int] | None = None,
    keep_heads: bool = False,
) -> None:
    """Loads the weights of named components into a model; raises ComponentError where one does not fit.

    `classes` are the class ids that the job's logits stand for (None: 0 to C - 1). An expert that was trained on others
    keeps the newly initialised head Linear(D_k, C) of the model; with `keep_heads` it gets its own head back, whatever
    its classes. An expert that a partial model does not have becomes absent in the model too.
    """
    if classes is None:
        classes = range(shape.num_classes)
    for field, component in sources.items():
        config = component.config
        if config.get("absent"):
            model.remove_expert(int(field.removeprefix("experts.")))
        elif field.startswith("expert"):
            expert = model.expert(0 if field == "expert" else int(field.removeprefix("experts.")))
            _check_fits(component, "in_channels", shape.channels, "image channels; this dataset has")
            state = dict(component.state_dict)
            if keep_heads:
                expert.replace_head(config["num_classes"])
            elif needs_new_head(component, classes):
                state = {key: value for key, value in state.items() if not key.startswith("head.")}
                state |= {f"head.{key}": value for key, value in expert.head.state_dict().items()}
            _load(expert, state, component)
        elif field == "fusion":
            assert model.fusion is not None
            dims = model.feature_dims()
            if config["feature_dims"] != dims:
                raise ComponentError(
                    f"fusion: {component.path} expects features of dimensions {config['feature_dims']}; "
                    f"these experts have {dims}"
                )
            # A module that was trained without expert dropout leaves new neutral elements at their start.
            _load(model.fusion, model.fusion.neutral_elements() | component.state_dict, component)
        else:
            assert model.head is not None
            _check_fits(component, "input_dim", model.head.in_features, "fused features; this fusion module has")
            _check_fits(component, "num_classes", shape.num_classes, "classes; this dataset has")
            _load(model.head, component.state_dict, component)


def _check_fits(component: Component, key: str, actual: int, what: str) -> None:
    expected = component.config[key]
    if expected != actual:
        raise ComponentError(f"{component.path} expects {expected} {what} {actual}")


def _load(module: nn.Module, state: Mapping[str, Any], component: Component) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        details = " ".join(str(error).split())
        raise ComponentError(f"{component.path} does not fit: {details[:400]}") from None
