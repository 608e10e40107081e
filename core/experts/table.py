"""Every architecture by its name. A new one is a file and a row here (and its name in the specification)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

import torch

from core.experts.base import Expert
from core.experts.convnet import DEFAULT_DIM, ConvNetSmall
from core.experts.densenet import DenseNet121
from core.experts.resnet import ResNet18
from core.experts.resnext import ResNeXt29
from core.experts.wideresnet import WideResNet28x10


@dataclass(frozen=True)
class Request:
    """What an expert is built for: classes, channels, pixels a side, and options that only some architectures have."""

    num_classes: int
    in_channels: int
    image_size: int
    dropout: float
    feature_dim: int


@dataclass(frozen=True)
class Architecture:
    """How to build one, and which options it has."""

    build: Callable[[Request], Expert]
    has_dropout: bool = False
    has_feature_dim: bool = False


EXPERTS: dict[str, Architecture] = {
    "resnet18": Architecture(lambda r: ResNet18(r.num_classes, r.in_channels)),
    "densenet121": Architecture(lambda r: DenseNet121(r.num_classes, r.in_channels, r.dropout), has_dropout=True),
    "wideresnet28_10": Architecture(
        lambda r: WideResNet28x10(r.num_classes, r.in_channels, r.dropout), has_dropout=True
    ),
    "preact_resnext29_8x64d": Architecture(
        lambda r: ResNeXt29(r.num_classes, r.in_channels, r.dropout, preact=True), has_dropout=True
    ),
    "resnext29_8x64d": Architecture(
        lambda r: ResNeXt29(r.num_classes, r.in_channels, r.dropout, preact=False), has_dropout=True
    ),
    "convnet_small": Architecture(
        lambda r: ConvNetSmall(r.num_classes, r.in_channels, r.feature_dim, norm="batch"), has_feature_dim=True
    ),
    "convnet_small_gn": Architecture(
        lambda r: ConvNetSmall(r.num_classes, r.in_channels, r.feature_dim, norm="group"), has_feature_dim=True
    ),
}


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
    """A newly initialised expert; raises ValueError for an unknown architecture or an option that it does not have.

    On the meta device (`with torch.device("meta")`) it costs neither memory nor time.
    """
    for what, given in (("num_classes", num_classes), ("in_channels", in_channels), ("feature_dim", feature_dim)):
        if given is not None and given < 1:
            raise ValueError(f"{what} is {given}; it must be at least 1")
    if dropout is not None and not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout is {dropout}; it must be at least 0 and less than 1")
    if arch.startswith("timm:"):
        return _timm(arch, num_classes, in_channels, image_size, dropout, feature_dim, pretrained)
    if arch not in EXPERTS:
        close = get_close_matches(arch, EXPERTS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"there is no architecture {arch!r}: choose one of {', '.join(EXPERTS)}, timm:<name>{hint}")
    entry = EXPERTS[arch]
    if dropout and not entry.has_dropout:
        raise ValueError(f"{arch} has no dropout; leave it out (given: {dropout:g})")
    if feature_dim is not None and not entry.has_feature_dim:
        raise ValueError(f"the feature dimension of {arch} is fixed; leave feature_dim out (given: {feature_dim})")
    if pretrained:
        raise ValueError(f"there are no pretrained weights for {arch}; timm:<name> has them, or name a component")
    if image_size < 8:
        raise ValueError(f"{arch} needs images of 8 px or more a side (given: {image_size})")
    return entry.build(Request(num_classes, in_channels, image_size, dropout or 0.0, feature_dim or DEFAULT_DIM))


def _timm(
    arch: str,
    num_classes: int,
    in_channels: int,
    image_size: int,
    dropout: float | None,
    feature_dim: int | None,
    pretrained: bool,
) -> Expert:
    from core.experts.timm_backbone import TimmExpert

    if dropout or feature_dim is not None:
        raise ValueError(f"{arch} takes neither dropout nor feature_dim")
    return TimmExpert(arch.removeprefix("timm:"), num_classes, in_channels, image_size, pretrained=pretrained)


def detect_feature_dim(expert: Expert, in_channels: int, image_size: int) -> int:
    """D, by a dummy forward of a copy on the meta device; the expert itself is left as it is."""
    probe = copy.deepcopy(expert).to("meta").eval()
    with torch.no_grad():
        features = probe.features(torch.empty(1, in_channels, image_size, image_size, device="meta"))
    return int(features.shape[1])
