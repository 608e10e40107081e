"""Experts, fusion module and global head as a specification describes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    field_validator,
    model_validator,
)

from core.spec.catalogue import ARCHITECTURES, FUSION_TYPES
from core.spec.fields import ComponentRef, SpecModel
from core.spec.recipes import HeadType, SumWeights

MAX_FEATURE_DIM = 65_536
FeatureDim = Annotated[int, Field(ge=1, le=MAX_FEATURE_DIM)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]


def unknown_name(name: str, allowed: Collection[str]) -> str:
    """What to choose instead of an unknown name, with the closest match."""
    close = get_close_matches(name, allowed, n=1)
    return f"choose one of {', '.join(allowed)}" + (f" (did you mean {close[0]}?)" if close else "")


def _check_fusion_type(name: str) -> str:
    if name not in FUSION_TYPES:
        raise ValueError(unknown_name(name, FUSION_TYPES))
    return name


FusionType = Annotated[
    str,
    AfterValidator(_check_fusion_type),
    Field(json_schema_extra=lambda schema: schema.update(enum=list(FUSION_TYPES))),
]


# In JSON schema, what ExpertSpec's validators check.
_ARCH_PATTERN = Field(json_schema_extra={"pattern": f"^({'|'.join(ARCHITECTURES)}|timm:.+)$"})
_ARCH_OR_SOURCE: list[JsonValue] = [
    {"required": ["arch"], "properties": {"arch": {"type": "string"}}},
    {"required": ["from"], "properties": {"from": {"type": "object"}}},
]


class ExpertSpec(SpecModel):
    """One expert. `arch` may be omitted where `from` names a component, which then determines it.

    `feature_dim` is the width of convnet_small, resnet18 and wideresnet28_10, `dropout` an option of the architectures
    that have one, `pretrained` of timm.
    """

    model_config = ConfigDict(json_schema_extra={"anyOf": _ARCH_OR_SOURCE})
    arch: Annotated[str, StringConstraints(max_length=128), _ARCH_PATTERN] | None = None
    source: ComponentRef | None = Field(default=None, alias="from")
    dropout: Dropout | None = None
    feature_dim: FeatureDim | None = None
    pretrained: bool = False

    @field_validator("arch")
    @classmethod
    def _check_arch(cls, arch: str | None) -> str | None:
        if arch is None or arch in ARCHITECTURES or (arch.startswith("timm:") and len(arch) > 5):
            return arch
        raise ValueError(unknown_name(arch, (*ARCHITECTURES, "timm:<name>")))

    @model_validator(mode="after")
    def _require_arch_or_source(self) -> ExpertSpec:
        if self.arch is None and self.source is None:
            raise ValueError("an expert needs an arch, or a component to start from: give arch or from")
        return self


class SoloExpertSpec(ExpertSpec):
    """The expert of an expert job, and the shard of the dataset it is trained on."""

    shard: Annotated[int, Field(ge=0, le=999)] = 0


class FusionOptions(SpecModel):
    """Options of a fusion module; specification, builder and component files all use this one list.

    `hidden_dim` null means the fused dimension D. `norm` and `weights` null mean the preset's choice; without a preset
    the experts' features are normalised and the sum has learned softmax weights. `weights: none` is the plain sum.
    `mlp: false` returns the fused vector itself. `dropout` is that of the MLP and of the attention; `encoder_dropout`
    that of the encoder (null: the preset's, or `dropout`). `expert_dropout` is the probability with which training
    leaves an expert out of the fused path, for each image anew and never all of them; the fused path learns to do
    without an expert, and what stands in for it. The catalogue says which types have which options.
    """

    hidden_dim: FeatureDim | None = None
    norm: bool | None = None
    weights: SumWeights | None = None
    mlp: bool = True
    encoder: bool = False
    heads: Annotated[int, Field(ge=1, le=1024)] = 8
    dropout: Dropout = 0.2
    encoder_dropout: Dropout | None = None
    expert_dropout: Dropout = 0.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> FusionOptions:
        """Options stored in a component's config; options that an older version did not know keep their defaults."""
        return FusionOptions(**{name: config[name] for name in FusionOptions.model_fields if name in config})

    def options(self) -> dict[str, Any]:
        """The options alone, by name."""
        return {name: getattr(self, name) for name in FusionOptions.model_fields}

    def config(self) -> dict[str, Any]:
        """The options as a component's config has them: without an option that its module does not use.

        The content of a component, and so its SHA-256, stays that of versions without expert dropout.
        """
        unused = () if self.expert_dropout else ("expert_dropout",)
        return {name: value for name, value in self.options().items() if name not in unused}

    def continued(self, saved: FusionOptions) -> dict[str, Any]:
        """Options of a module that starts from a saved one: those of the saved one, and this rate of expert dropout.

        A rate of 0 means that of the saved module, as a value that was not given does.
        """
        return saved.options() | ({"expert_dropout": self.expert_dropout} if self.expert_dropout else {})


# Earlier versions accepted `heads` with every type, and stored specifications must stay readable.
_ACCEPTED_EVERYWHERE = frozenset({"heads"})


def fusion_options(fusion_type: str) -> list[str]:
    """Names of the options that a fusion type has."""
    special = {name for info in FUSION_TYPES.values() for name in info.options}
    own = FUSION_TYPES[fusion_type].options
    return [name for name in FusionOptions.model_fields if name not in special or name in own]


def check_fusion_options(fusion_type: str, options: FusionOptions) -> None:
    """Raises ValueError for an option that this fusion type does not have."""
    allowed = _ACCEPTED_EVERYWHERE.union(fusion_options(fusion_type))
    for name, value in options.options().items():
        if name not in allowed and value != FusionOptions.model_fields[name].default:
            types = [other for other, info in FUSION_TYPES.items() if name in info.options]
            raise ValueError(f"{name} is an option of {' and '.join(types)}, not of {fusion_type}: remove it")


class FusionSpec(FusionOptions):
    """The fusion module. `type` may be omitted where `from` names a component."""

    type: FusionType | None = None
    source: ComponentRef | None = Field(default=None, alias="from")

    @model_validator(mode="before")
    @classmethod
    def _replace_alias(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("type"), str):
            for name, info in FUSION_TYPES.items():
                if data["type"] in info.aliases:
                    return {**data, "type": name}
        return data

    @model_validator(mode="after")
    def _check_options(self) -> FusionSpec:
        if self.type is not None:
            check_fusion_options(self.type, self)
        if self.encoder_dropout is not None and not self.encoder:
            raise ValueError("encoder_dropout is the dropout of the encoder: give encoder: true as well, or remove it")
        return self


class HeadOptions(SpecModel):
    """Options of the global head, from the fused vector (B, D) to logits (B, C).

    `linear` is Linear(D, C); `mlp` is Linear(D, H) -> ReLU -> Dropout -> Linear(H, C) with H = `hidden_dim` (null: D)
    and `dropout` (null: 0.5). `type` null means the preset's choice.
    """

    type: HeadType | None = None
    hidden_dim: FeatureDim | None = None
    dropout: Dropout | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> HeadOptions:
        """Options stored in a component's config; files from before there was a choice hold a linear head."""
        known = {name: config[name] for name in HeadOptions.model_fields if name in config}
        return HeadOptions(**{"type": "linear", **known})

    def options(self) -> dict[str, Any]:
        """The options alone, by name."""
        return {name: getattr(self, name) for name in HeadOptions.model_fields}


class HeadSpec(HeadOptions):
    """The global head; `from` starts it from a component."""

    source: ComponentRef | None = Field(default=None, alias="from")

    @model_validator(mode="after")
    def _check_options(self) -> HeadSpec:
        if self.type != "mlp" and (self.hidden_dim is not None or self.dropout is not None):
            raise ValueError("hidden_dim and dropout are options of the two-layer head: give type: mlp, or remove them")
        return self
