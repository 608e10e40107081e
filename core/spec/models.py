"""Experts, fusion and head as a specification names them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue, StringConstraints, field_validator, model_validator

from core.spec.fields import ComponentRef, SpecModel

ARCHITECTURES = (
    "resnet18",
    "densenet121",
    "wideresnet28_10",
    "preact_resnext29_8x64d",
    "resnext29_8x64d",
    "convnet_small",
    "convnet_small_gn",
)
FusionType = Literal[
    "multiplicative",
    "multiplicativeAddition",
    "multiplicativeShifted",
    "TransformerBase",
    "concatenation",
    "simpleAddition",
]
FUSION_ALIASES = {"additive": "simpleAddition"}
FeatureDim = Annotated[int, Field(ge=1, le=65_536)]


# In JSON schema, what ExpertSpec's validators check.
_ARCH_PATTERN = Field(json_schema_extra={"pattern": f"^({'|'.join(ARCHITECTURES)}|timm:.+)$"})
_ARCH_OR_SOURCE: list[JsonValue] = [
    {"required": ["arch"], "properties": {"arch": {"type": "string"}}},
    {"required": ["from"], "properties": {"from": {"type": "object"}}},
]


class ExpertSpec(SpecModel):
    """One expert. `arch` may be left out where `from` names a component, whose architecture is then taken.

    `feature_dim` is for convnet_small alone, `dropout` for architectures that have one, `pretrained` for timm.
    """

    model_config = ConfigDict(json_schema_extra={"anyOf": _ARCH_OR_SOURCE})
    arch: Annotated[str, StringConstraints(max_length=128), _ARCH_PATTERN] | None = None
    source: ComponentRef | None = Field(default=None, alias="from")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    feature_dim: FeatureDim | None = None
    pretrained: bool = False

    @field_validator("arch")
    @classmethod
    def _known(cls, arch: str | None) -> str | None:
        if arch is None or arch in ARCHITECTURES or (arch.startswith("timm:") and len(arch) > 5):
            return arch
        close = get_close_matches(arch, ARCHITECTURES, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(f"choose one of {', '.join(ARCHITECTURES)}, timm:<name>{hint}")

    @model_validator(mode="after")
    def _named(self) -> ExpertSpec:
        if self.arch is None and self.source is None:
            raise ValueError("an expert needs an arch, or a component to come from")
        return self


class SoloExpertSpec(ExpertSpec):
    """The expert of an expert job, and the shard of the data set it sees."""

    shard: Annotated[int, Field(ge=0, le=999)] = 0


class FusionSpec(SpecModel):
    """The fusion module. `hidden_dim` null means the fused dimension; `norm` null means the preset's choice.

    `encoder` and `heads` are for TransformerBase alone. `type` may be left out where `from` names a component.
    """

    type: FusionType | None = None
    source: ComponentRef | None = Field(default=None, alias="from")
    hidden_dim: FeatureDim | None = None
    norm: bool | None = None
    mlp: bool = True
    encoder: bool = False
    heads: Annotated[int, Field(ge=1, le=1024)] = 8
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2

    @model_validator(mode="before")
    @classmethod
    def _alias(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("type"), str) and data["type"] in FUSION_ALIASES:
            return {**data, "type": FUSION_ALIASES[data["type"]]}
        return data

    @model_validator(mode="after")
    def _encoder(self) -> FusionSpec:
        if self.encoder and self.type not in (None, "TransformerBase"):
            raise ValueError("encoder is an option of TransformerBase")
        return self


class HeadSpec(SpecModel):
    """The global head, Linear(D, C); `from` starts it from a component."""

    source: ComponentRef | None = Field(default=None, alias="from")
