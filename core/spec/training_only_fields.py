"""Fields that say how a job trains, in a job that trains nothing."""

from __future__ import annotations

from core.spec.jobs import EvaluateJob, JobSpec
from core.spec.resolve import resolve
from core.spec.training import Checkpointing, Training

# Evaluations use the other fields of `training`: size of the batches, seed, precision.
_FIELDS = ("epochs", "loss", "components", "augmentation", "stages", "gradients", "select_on", "clip_norm")


def fields_without_effect(spec: JobSpec) -> list[tuple[str, ...]]:
    """The paths of the fields that an evaluate job has no use for and that say something else than their defaults.

    Those of a resolved specification have their defaults, so that a shown job can be submitted again.
    """
    if not isinstance(spec, EvaluateJob):
        return []
    defaults = {name: Training.model_fields[name].default for name in _FIELDS}
    bare = spec.model_copy(update={"training": spec.training.model_copy(update=defaults)})
    resolved, default = resolve(spec).training, resolve(bare).training
    # Stages decide the epochs too, which then nobody gave.
    named = [name for name in _FIELDS if name in spec.training.model_fields_set]
    paths: list[tuple[str, ...]] = [
        ("training", name) for name in named if getattr(resolved, name) != getattr(default, name)
    ]
    return paths + ([("checkpoint",)] if spec.checkpoint != Checkpointing() else [])
