"""The configs that components carry: all it takes to build their modules again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from core.components import Component
from core.experts import Expert, build_expert
from core.fusion import FusionModule
from core.model.model import MultiExpertModel
from core.spec import AssembledJob, ExpertSpec


def data_config(
    dataset: str, *, channels: int, image_size: int, mean: Sequence[float], std: Sequence[float]
) -> dict[str, Any]:
    """What every component says of the data it was trained on; mean and deviation are of pixels scaled to [0, 1]."""
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
    """An expert's config. `classes` are the data set's class ids in the order of the expert's logits."""
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
    """A fusion module's config."""
    return {
        "role": "fusion",
        "type": spec.fusion.type,
        "num_experts": len(feature_dims),
        "feature_dims": list(feature_dims),
        "input_dim": fusion.input_dim,
        "hidden_dim": spec.fusion.hidden_dim,
        "norm": spec.fusion.norm,
        "mlp": spec.fusion.mlp,
        "encoder": spec.fusion.encoder,
        "heads": spec.fusion.heads,
        "dropout": spec.fusion.dropout,
    }


def head_config(head: nn.Linear, class_names: Sequence[str]) -> dict[str, Any]:
    """A global head's config."""
    return {
        "role": "head",
        "input_dim": head.in_features,
        "num_classes": head.out_features,
        "class_names": list(class_names),
    }


def build_module(component: Component) -> nn.Module:
    """The module of a component with its weights, in evaluation mode: what runs alone.

    An expert maps normalised images (B, C, H, W) to features and logits; a fusion module maps a list of K features
    (B, D_k) to (B, D); a head maps (B, D) to logits; a complete model maps images to the logits of both paths.
    """
    module = _built(component.config)
    module.load_state_dict(component.state_dict)
    return module.eval()


def _built(config: dict[str, Any]) -> nn.Module:
    match config["role"]:
        case "expert":
            return _expert(config)
        case "fusion":
            names = ("input_dim", "hidden_dim", "norm", "mlp", "encoder", "heads", "dropout")
            return FusionModule(config["type"], config["feature_dims"], **{name: config[name] for name in names})
        case "head":
            return nn.Linear(config["input_dim"], config["num_classes"])
        case "complete":
            fusion, head = _built(config["fusion"]), _built(config["head"])
            assert isinstance(fusion, FusionModule)
            assert isinstance(head, nn.Linear)
            return MultiExpertModel([_expert(expert) for expert in config["experts"]], fusion, head)
        case role:
            raise ValueError(f"a component of role {role!r} is not known to this version")


def _expert(config: dict[str, Any]) -> Expert:
    return build_expert(
        config["arch"],
        config["num_classes"],
        in_channels=config["in_channels"],
        image_size=config["image_size"],
        dropout=config["dropout"],
        feature_dim=config["options_feature_dim"],
    )
