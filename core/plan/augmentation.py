"""The augmentation of a job: its fusion type's or architecture's recipe, the preset, and what the data cannot bear."""

from __future__ import annotations

from dataclasses import dataclass

from core.data import DatasetInfo
from core.spec import NO_AUGMENTATION, Augmentation, AugmentationOverride, EvaluateJob, ExpertJob, JobSpec
from core.spec.catalogue import FUSION_TYPES, expert_recipe
from core.spec.recipes import PRESETS


@dataclass(frozen=True)
class ResolvedAugmentation:
    """What is done to training batches, and in words what the recipe has beyond that and why it was left out."""

    recipe: Augmentation
    left_out: tuple[str, ...]


def resolve_augmentation(spec: JobSpec, info: DatasetInfo) -> ResolvedAugmentation:
    """The augmentation of a complete specification on a data set.

    Pictures that are no RGB natural_rgb (digits) get no colour policy and no flip (a mirrored 2
    is no 2); small ones get a smaller crop. Whatever the specification gives itself is done as given.
    """
    asked = spec.training.augmentation
    if asked == "none" or isinstance(spec, EvaluateJob):
        return ResolvedAugmentation(NO_AUGMENTATION, ())
    recipe, left_out = _fit(_recipe(spec), info)
    if isinstance(asked, AugmentationOverride):
        given = asked.model_dump(exclude_none=True)
        recipe = Augmentation.model_validate({**recipe.model_dump(), **given})
        left_out = {name: why for name, why in left_out.items() if name not in given}
    return ResolvedAugmentation(recipe, tuple(left_out.values()))


def _recipe(spec: JobSpec) -> Augmentation:
    if isinstance(spec, ExpertJob):
        assert spec.expert.arch is not None
        return expert_recipe(spec.expert.arch).augmentation
    preset = PRESETS[spec.training.preset].augmentation
    assert spec.fusion.type is not None
    return FUSION_TYPES[spec.fusion.type].recipe.augmentation if preset is None else preset


def _fit(recipe: Augmentation, info: DatasetInfo) -> tuple[Augmentation, dict[str, str]]:
    """The recipe as far as the pictures bear it, and by field what was changed and why."""
    changes: dict[str, object] = {}
    why: dict[str, str] = {}
    # 4 pixels of 32, and the same share of smaller pictures.
    padding = min(recipe.crop_padding, info.image_size // 8)
    if padding < recipe.crop_padding:
        changes["crop_padding"] = padding
        why["crop_padding"] = (
            f"crop padding {padding} instead of {recipe.crop_padding}: images are {info.image_size} px"
        )
    if not info.natural_rgb:
        reason = f"{info.name} holds no RGB photographs"
        if recipe.color != "none":
            changes["color"], why["color"] = "none", f"{recipe.color} left out: {reason}"
        if recipe.flip:
            changes["flip"], why["flip"] = False, f"horizontal flip left out: {reason}"
    return recipe.model_copy(update=changes), why
