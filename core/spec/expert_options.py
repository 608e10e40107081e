"""Which options an architecture has."""

from __future__ import annotations

from core.spec.catalogue import ARCHITECTURES
from core.spec.fields import InvalidField


def expert_option_error(
    arch: str, *, dropout: float | None = None, feature_dim: int | None = None, pretrained: bool = False
) -> InvalidField | None:
    """The first given option that an architecture of the catalogue, or `timm:<name>`, does not have, and what to do."""
    if arch.startswith("timm:"):
        if dropout or feature_dim is not None:
            field = "dropout" if dropout else "feature_dim"
            return InvalidField(field, f"{arch} has neither a dropout nor a feature_dim option: remove them")
        return None
    options = ARCHITECTURES[arch].options
    if pretrained:
        message = f"there are no pretrained weights for {arch}: use timm:<name>, or start from a component"
        return InvalidField("pretrained", message)
    if dropout and "dropout" not in options:
        return InvalidField("dropout", f"{arch} has no dropout option: remove it (given: {dropout:g})")
    if feature_dim is not None and "feature_dim" not in options:
        message = f"the feature dimension of {arch} is fixed: remove feature_dim (given: {feature_dim})"
        return InvalidField("feature_dim", message)
    step = ARCHITECTURES[arch].feature_dim_step
    if feature_dim is not None and feature_dim % step:
        below, above = feature_dim // step * step, (feature_dim // step + 1) * step
        nearest = f"{below} or {above}" if below else str(above)
        message = f"the feature dimension of {arch} is a multiple of {step}: use {nearest} (given: {feature_dim})"
        return InvalidField("feature_dim", message)
    return None
