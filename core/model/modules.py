"""The config that a component file carries, and the module that can be built from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from core.components import Component
from core.experts import Expert, build_expert
from core.fusion import FusionModule
from core.model.absent_expert import AbsentExpert
from core.model.head import GlobalHead, build_head
from core.model.model import MultiExpertModel
from core.spec import AssembledJob, ExpertSpec, FusionOptions, HeadOptions


def data_config(
    dataset: str, *, channels: int, image_size: int, mean: Sequence[float], std: Sequence[float]
) -> dict[str, Any]:
    """Config of the training data; `mean` and `std` are by channel, of pixels scaled to [0, 1]."""
    return {
        "dataset": dataset,
        "in_channels": channels,
        "image_size": image_size,
        "mean": list(mean),
        "std": list(std),
    }


def expert_config(
    spec: ExpertSpec, expert: Expert, *, classes: Sequence[int], class_names: Sequence[str], data: dict[str, Any]
) -> dict[str, Any]:
    """Config of an expert; `classes` are the dataset's class ids in the order of the expert's logits."""
    return {
        "role": "expert",
        "arch": spec.arch,
        "feature_dim": expert.feature_dim,
        "options_feature_dim": spec.feature_dim,
        "dropout": spec.dropout,
        "num_classes": len(classes),
        "classes": list(classes),
        "class_names": list(class_names),
        **data,
    }


def fusion_config(spec: AssembledJob, fusion: FusionModule, feature_dims: Sequence[int]) -> dict[str, Any]:
    """Config of a fusion module."""
    return {
        "role": "fusion",
        "type": spec.fusion.type,
        "num_experts": len(feature_dims),
        "feature_dims": list(feature_dims),
        "input_dim": fusion.input_dim,
        **spec.fusion.config(),
    }


def head_config(spec: AssembledJob, head: GlobalHead, class_names: Sequence[str]) -> dict[str, Any]:
    """Config of a global head."""
    return {
        "role": "head",
        "input_dim": head.in_features,
        "num_classes": head.out_features,
        "class_names": list(class_names),
        **spec.head.options(),
    }


def build_module(component: Component, experts: Sequence[int] | None = None) -> nn.Module:
    """Builds the module of a component with its weights, in evaluation mode; of a complete one, with some experts only.

    An expert maps normalised images (B, C, H, W) to features and logits; a fusion module maps a list of K features
    (B, D_k) to (B, D); a head maps (B, D) to logits; a complete model maps images to the logits of both paths. With
    `experts`, such as (0, 2), the others are absent and take no memory. Raises ValueError for a role that this version
    does not know, and for experts that the component does not have.
    """
    if experts is not None:
        component = component.with_experts(experts)
    config = component.config
    builders = {"expert": _expert, "fusion": _fusion, "head": _head, "complete": _complete}
    if config["role"] not in builders:
        raise ValueError(
            f"{component.path} holds a component of role {config['role']!r}; this version can build "
            f"{', '.join(builders)}"
        )
    module: nn.Module = builders[config["role"]](config)
    module.load_state_dict(component.state_dict)
    return module.eval()


def _expert(config: dict[str, Any]) -> Expert:
    return build_expert(
        config["arch"],
        config["num_classes"],
        in_channels=config["in_channels"],
        image_size=config["image_size"],
        dropout=config["dropout"],
        feature_dim=config["options_feature_dim"],
    )


def _fusion(config: dict[str, Any]) -> FusionModule:
    options = FusionOptions.from_config(config)
    return FusionModule(config["type"], config["feature_dims"], input_dim=config["input_dim"], options=options)


def _head(config: dict[str, Any]) -> GlobalHead:
    return build_head(config["input_dim"], config["num_classes"], HeadOptions.from_config(config))


def _complete(config: dict[str, Any]) -> MultiExpertModel:
    present = config.get("present_experts", range(len(config["experts"])))
    experts = [
        _expert(expert) if k in present else AbsentExpert(expert["feature_dim"])
        for k, expert in enumerate(config["experts"])
    ]
    return MultiExpertModel(experts, _fusion(config["fusion"]), _head(config["head"]))
