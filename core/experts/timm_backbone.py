"""Any timm backbone as an expert: `timm:<name>`."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from core.experts.base import Expert
from core.experts.meta import skip_random_init_on_meta


class TimmExpert(Expert):
    """A timm model without its classifier; its feature dimension is detected by a forward pass on the meta device.

    Raises ValueError for a name that timm does not know, an image size that the model does not accept, and pretrained
    weights that are not available.
    """

    def __init__(self, name: str, num_classes: int, in_channels: int, image_size: int, *, pretrained: bool) -> None:
        super().__init__()
        self.backbone = _create(name, in_channels, image_size, pretrained=pretrained)
        self.add_head(_feature_dim(name, in_channels, image_size), num_classes)

    def features(self, images_BCHW: Tensor) -> Tensor:
        features_BD: Tensor = self.backbone(images_BCHW)
        return features_BD


def _create(name: str, in_channels: int, image_size: int, *, pretrained: bool) -> Any:
    # timm takes seconds to import, and most jobs do not need it.
    import timm

    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise ValueError(f"timm has no model {name!r}{hint}")
    options: dict[str, Any] = {"in_chans": in_channels, "num_classes": 0, "pretrained": pretrained}
    # Vision transformers have a fixed input size, which has to be given; other models accept any size.
    entry = timm.model_entrypoint(name)
    try:
        if _has_fixed_size(name) and "kwargs" in inspect.signature(entry).parameters:
            options["img_size"] = image_size
        return timm.create_model(name, **options)
    except (RuntimeError, OSError, ValueError, AssertionError, TypeError) as error:
        what = "with its pretrained weights" if pretrained else f"for {image_size} px images"
        raise ValueError(f"timm model {name!r} cannot be created {what}: {error}") from None


def _has_fixed_size(name: str) -> bool:
    import timm

    config = timm.get_pretrained_cfg(name)
    return bool(config and config.fixed_input_size)


def _feature_dim(name: str, in_channels: int, image_size: int) -> int:
    with torch.device("meta"), skip_random_init_on_meta():
        probe = _create(name, in_channels, image_size, pretrained=False).eval()
        images = torch.empty(1, in_channels, image_size, image_size)
    try:
        features = probe(images)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"timm model {name!r} does not accept {image_size} px images: {error}") from None
    if features.ndim != 2:
        raise ValueError(
            f"timm model {name!r} returns features of shape {tuple(features.shape)}; an expert needs one vector per "
            "image: choose another model"
        )
    return int(features.shape[1])
