"""The augmentation of a job: the recipe of its fusion type or architecture, its preset, and limits of the dataset."""

from __future__ import annotations

from dataclasses import dataclass

from core.augment.geometry import check_crop_padding
from core.data import DatasetInfo
from core.spec import NO_AUGMENTATION, Augmentation, AugmentationOverride, EvaluateJob, ExpertJob, JobSpec
from core.spec.catalogue import FUSION_TYPES, expert_recipe
from core.spec.recipes import PRESETS


@dataclass(frozen=True)
class ResolvedAugmentation:
    """The augmentation of training batches; `left_out` explains each change to the recipe in a sentence."""

    recipe: Augmentation
    left_out: tuple[str, ...]


def resolve_augmentation(spec: JobSpec, info: DatasetInfo) -> ResolvedAugmentation:
    """The augmentation of a complete specification on a dataset.

    Images that are not colour photographs (digits) get no colour policy and no flip (a mirrored 2 is not a 2); small
    images get a smaller crop padding. Values of the specification itself are used unchanged; raises ValueError for a
    crop padding that is not smaller than the images.
    """
    requested = spec.training.augmentation
    if requested == "none" or isinstance(spec, EvaluateJob):
        return ResolvedAugmentation(NO_AUGMENTATION, ())
    recipe, left_out = _adapt(_recipe(spec), info)
    if isinstance(requested, AugmentationOverride):
        values = requested.model_dump(exclude_none=True)
        recipe = Augmentation.model_validate({**recipe.model_dump(), **values})
        left_out = {name: why for name, why in left_out.items() if name not in values}
    check_crop_padding(recipe.crop_padding, info.image_size)
    return ResolvedAugmentation(recipe, tuple(left_out.values()))


def _recipe(spec: JobSpec) -> Augmentation:
    if isinstance(spec, ExpertJob):
        assert spec.expert.arch is not None
        return expert_recipe(spec.expert.arch).augmentation
    preset = PRESETS[spec.training.preset].augmentation
    assert spec.fusion.type is not None
    return FUSION_TYPES[spec.fusion.type].recipe.augmentation if preset is None else preset


def _adapt(recipe: Augmentation, info: DatasetInfo) -> tuple[Augmentation, dict[str, str]]:
    """The recipe adapted to the images, and the reason of every change by field."""
    changes: dict[str, object] = {}
    why: dict[str, str] = {}
    # 4 pixels of 32, and the same fraction of smaller images.
    padding = min(recipe.crop_padding, info.image_size // 8)
    if padding < recipe.crop_padding:
        changes["crop_padding"] = padding
        why["crop_padding"] = (
            f"crop padding {padding} instead of {recipe.crop_padding}: images are {info.image_size} px"
        )
    if not info.natural_rgb:
        reason = f"{info.name} does not contain RGB photographs"
        if recipe.color != "none":
            changes["color"], why["color"] = "none", f"{recipe.color} left out: {reason}"
        if recipe.flip:
            changes["flip"], why["flip"] = False, f"horizontal flip left out: {reason}"
    return recipe.model_copy(update=changes), why
