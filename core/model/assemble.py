"""From a specification and its named components to the model: what is new, what is loaded, and whether it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.components import Component, load_component
from core.data import DataShape
from core.experts import Expert, build_expert
from core.fusion import FusionModule
from core.model.model import MultiExpertModel
from core.spec import COMPONENT_NAMES, AssembledJob, ComponentRef, ExpertJob, ExpertSpec, FusionSpec, JobSpec, resolve

_FUSION_OPTIONS = ("hidden_dim", "norm", "mlp", "encoder", "heads", "dropout")


class ComponentError(ValueError):
    """A named component that does not fit where it is named; the message says both sides."""


Sources = Mapping[str, Component]


def load_sources(spec: JobSpec) -> dict[str, Component]:
    """Reads and verifies the components that a specification names, by the path of the field that names them."""
    return {field: _load_source(field, ref) for field, ref in _expanded(spec).sources().items()}


def _expanded(spec: JobSpec) -> JobSpec:
    return resolve(spec)


def _load_source(field: str, ref: ComponentRef) -> Component:
    if ref.path is None:
        raise ComponentError(
            f"{field}: a component named by job or id needs the service; without it, give its file as {{path: ..}}"
        )
    component = load_component(Path(ref.path))
    role, name = ("expert", field.replace("experts.", "expert_")) if field.startswith("expert") else (field, field)
    if component.role == "complete":
        component = component.part("expert_0" if name == "expert" else name)
    if component.role != role:
        raise ComponentError(f"{field}: {ref.path} holds a component of role {component.role}, role {role} is needed")
    return component


def complete_spec(spec: JobSpec, sources: Sources) -> JobSpec:
    """The resolved specification, with what it leaves to its components' files filled in; raises ComponentError."""
    spec = resolve(spec)
    if isinstance(spec, ExpertJob):
        expert = _filled_expert(spec.expert, sources.get("expert"), "expert")
        return resolve(spec.model_copy(update={"expert": expert}))
    experts = tuple(
        _filled_expert(expert, sources.get(f"experts.{k}"), f"experts.{k}") for k, expert in enumerate(spec.experts)
    )
    update: dict[str, Any] = {"experts": experts}
    if source := sources.get("fusion"):
        update["fusion"] = _filled_fusion(spec.fusion, source)
        saved_dim = source.config["input_dim"]
        if spec.input_dim not in (None, saved_dim):
            raise ComponentError(
                f"input_dim is {spec.input_dim}, but the fusion module in {source.path} has {saved_dim}"
            )
        update["input_dim"] = saved_dim
        if source.config["num_experts"] != len(experts):
            raise ComponentError(
                f"the fusion module in {source.path} is for {source.config['num_experts']} experts, "
                f"the specification has {len(experts)}"
            )
    return resolve(spec.model_copy(update=update))


def _filled_expert(expert: ExpertSpec, source: Component | None, field: str) -> ExpertSpec:
    if source is None:
        return expert
    saved = source.config
    if expert.arch not in (None, saved["arch"]):
        raise ComponentError(f"{field}: arch is {expert.arch}, but {source.path} holds a {saved['arch']}")
    dropout = saved["dropout"] if expert.dropout is None else expert.dropout
    return expert.model_copy(
        update={"arch": saved["arch"], "dropout": dropout, "feature_dim": saved["options_feature_dim"]}
    )


def _filled_fusion(fusion: FusionSpec, source: Component) -> FusionSpec:
    saved = source.config
    for field, given in (("type", fusion.type), ("hidden_dim", fusion.hidden_dim)):
        if given not in (None, saved[field]):
            raise ComponentError(f"fusion.{field} is {given}, but {source.path} holds {saved[field]}")
    return fusion.model_copy(update={"type": saved["type"], **{name: saved[name] for name in _FUSION_OPTIONS}})


def build_model(spec: JobSpec, shape: DataShape) -> MultiExpertModel:
    """The model of a complete specification, newly initialised from the global random state (or on the meta device)."""
    if isinstance(spec, ExpertJob):
        return MultiExpertModel([_expert(spec.expert, shape)])
    experts = [_expert(expert, shape) for expert in spec.experts]
    fusion = build_fusion(spec, [expert.feature_dim for expert in experts])
    head = nn.Linear(fusion.input_dim, shape.num_classes)
    nn.init.xavier_uniform_(head.weight)
    nn.init.zeros_(head.bias)
    frozen = [name for name in COMPONENT_NAMES if getattr(spec.training.components, name).frozen]
    return MultiExpertModel(experts, fusion, head, frozen=frozen)


def _expert(expert: ExpertSpec, shape: DataShape) -> Expert:
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


def build_fusion(spec: AssembledJob, feature_dims: list[int]) -> FusionModule:
    """The fusion module of a complete specification for experts of these dimensions."""
    fusion = spec.fusion
    assert fusion.type is not None
    assert fusion.norm is not None
    return FusionModule(
        fusion.type,
        feature_dims,
        input_dim=spec.input_dim,
        hidden_dim=fusion.hidden_dim,
        norm=fusion.norm,
        mlp=fusion.mlp,
        encoder=fusion.encoder,
        heads=fusion.heads,
        dropout=fusion.dropout,
    )


def expert_classes(
    spec: JobSpec, sources: Sources, classes: Sequence[int], *, keep_heads: bool
) -> list[tuple[int, ...]]:
    """The data set's classes that each expert's own logits stand for: `classes`, or its component's own."""
    if isinstance(spec, ExpertJob):
        return [tuple(classes)]
    named = [sources.get(f"experts.{k}") if keep_heads else None for k in range(len(spec.experts))]
    return [tuple(component.config["classes"] if component else classes) for component in named]


def load_weights(model: MultiExpertModel, sources: Sources, shape: DataShape, *, keep_heads: bool = False) -> None:
    """Puts the named components' weights into a model; raises ComponentError where one does not fit.

    An expert whose own head is for other classes than the data set's keeps the new head (Linear(D_k, C)) that the model
    was built with; with `keep_heads` it gets its old one back, of whatever classes.
    """
    for field, component in sources.items():
        config = component.config
        if field.startswith("expert"):
            expert = model.expert(0 if field == "expert" else int(field.removeprefix("experts.")))
            _check(config, "in_channels", shape.channels, component, "image channels")
            state = dict(component.state_dict)
            if keep_heads:
                expert.replace_head(config["num_classes"])
            elif config["classes"] != list(range(shape.num_classes)):
                state = {key: value for key, value in state.items() if not key.startswith("head.")}
                state |= {f"head.{key}": value for key, value in expert.head.state_dict().items()}
            _load(expert, state, component)
        elif field == "fusion":
            assert model.fusion is not None
            dims = model.feature_dims()
            if config["feature_dims"] != dims:
                raise ComponentError(
                    f"the fusion module in {component.path} takes features of dimensions {config['feature_dims']}, "
                    f"the experts give {dims}"
                )
            _load(model.fusion, component.state_dict, component)
        else:
            assert model.head is not None
            _check(config, "input_dim", model.head.in_features, component, "fused dimension D")
            _check(config, "num_classes", shape.num_classes, component, "classes")
            _load(model.head, component.state_dict, component)


def _check(config: Mapping[str, Any], key: str, needed: int, component: Component, what: str) -> None:
    if config[key] != needed:
        raise ComponentError(f"{component.path} is for {what} {config[key]}, here it is {needed}")


def _load(module: nn.Module, state: Mapping[str, Any], component: Component) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = " ".join(str(error).split())
        raise ComponentError(f"{component.path} does not fit: {lines[:400]}") from None
