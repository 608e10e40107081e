"""Builds an expert by the name of its architecture."""

from __future__ import annotations

import copy
import pkgutil

import torch

from core.experts.base import Expert
from core.experts.meta import skip_random_init_on_meta
from core.spec.catalogue import ARCHITECTURES, ArchitectureInfo
from core.spec.expert_options import expert_option_error
from core.spec.models import unknown_name

MIN_IMAGE_SIZE = 8


def build_expert(
    arch: str,
    num_classes: int,
    *,
    in_channels: int = 3,
    image_size: int = 32,
    dropout: float | None = None,
    feature_dim: int | None = None,
    pretrained: bool = False,
) -> Expert:
    """Builds an expert and initialises it from the global random state.

    `arch` is a row of the catalogue or `timm:<name>`; `image_size` is the side in pixels. Under
    `torch.device("meta")` nothing is allocated and no random number is drawn. Raises ValueError for an unknown
    architecture, sizes that are not positive, and options that the architecture does not have.
    """
    for name, value in (("num_classes", num_classes), ("in_channels", in_channels), ("feature_dim", feature_dim)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if dropout is not None and not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout is {dropout}; it must be at least 0 and less than 1")
    with skip_random_init_on_meta():
        if arch not in ARCHITECTURES and not arch.startswith("timm:"):
            raise ValueError(f"unknown architecture {arch!r}: {unknown_name(arch, (*ARCHITECTURES, 'timm:<name>'))}")
        if wrong := expert_option_error(arch, dropout=dropout, feature_dim=feature_dim, pretrained=pretrained):
            raise ValueError(wrong.message)
        if arch.startswith("timm:"):
            from core.experts.timm_backbone import TimmExpert

            return TimmExpert(arch.removeprefix("timm:"), num_classes, in_channels, image_size, pretrained=pretrained)
        if image_size < MIN_IMAGE_SIZE:
            raise ValueError(f"{arch} needs images of at least {MIN_IMAGE_SIZE} px; these have {image_size} px")
        return _from_catalogue(ARCHITECTURES[arch], num_classes, in_channels, dropout, feature_dim)


def _from_catalogue(
    info: ArchitectureInfo,
    num_classes: int,
    in_channels: int,
    dropout: float | None,
    feature_dim: int | None,
) -> Expert:
    options = {"dropout": dropout or 0.0, "feature_dim": feature_dim or info.feature_dim}
    chosen = {name: options[name] for name in info.options}
    expert = pkgutil.resolve_name(info.implementation)(num_classes, in_channels, **info.arguments, **chosen)
    assert isinstance(expert, Expert)
    return expert


def detect_feature_dim(expert: Expert, in_channels: int, image_size: int) -> int:
    """Feature dimension D, found by a forward pass of a copy on the meta device; the expert itself is not changed."""
    probe = copy.deepcopy(expert).to("meta").eval()
    with torch.no_grad():
        features = probe.features(torch.empty(1, in_channels, image_size, image_size, device="meta"))
    return int(features.shape[1])
