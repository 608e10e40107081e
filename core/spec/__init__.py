"""The job specification: parsed, validated and resolved without torch."""

from __future__ import annotations

from core.spec.augmentation import NO_AUGMENTATION, Augmentation, AugmentationOverride
from core.spec.catalogue import ARCHITECTURES, FUSION_TYPES
from core.spec.dataset import DatasetSpec, Split
from core.spec.fields import ComponentRef
from core.spec.individual_loss import IndividualLoss
from core.spec.jobs import KINDS, AssembledJob, EvaluateJob, ExpertJob, FusionJob, HeadJob, JobSpec
from core.spec.load import FieldError, SpecError, parse_spec, parse_text, read_mapping
from core.spec.models import (
    ExpertSpec,
    FusionOptions,
    FusionSpec,
    FusionType,
    HeadOptions,
    HeadSpec,
    SoloExpertSpec,
    fusion_options,
)
from core.spec.resolve import defaulted, resolve
from core.spec.stored import parse_stored
from core.spec.training import (
    COMPONENT_NAMES,
    Checkpointing,
    ComponentName,
    ComponentPolicy,
    GroupName,
    Loss,
    Schedule,
    Training,
)

__all__ = [
    "ARCHITECTURES",
    "COMPONENT_NAMES",
    "FUSION_TYPES",
    "KINDS",
    "NO_AUGMENTATION",
    "AssembledJob",
    "Augmentation",
    "AugmentationOverride",
    "Checkpointing",
    "ComponentName",
    "ComponentPolicy",
    "ComponentRef",
    "DatasetSpec",
    "EvaluateJob",
    "ExpertJob",
    "ExpertSpec",
    "FieldError",
    "FusionJob",
    "FusionOptions",
    "FusionSpec",
    "FusionType",
    "GroupName",
    "HeadJob",
    "HeadOptions",
    "HeadSpec",
    "IndividualLoss",
    "JobSpec",
    "Loss",
    "Schedule",
    "SoloExpertSpec",
    "SpecError",
    "Split",
    "Training",
    "defaulted",
    "fusion_options",
    "parse_spec",
    "parse_stored",
    "parse_text",
    "read_mapping",
    "resolve",
]
