"""The training of every stage by itself: `training` with what the stage changes."""

from __future__ import annotations

from core.spec.stages import Stage
from core.spec.training import COMPONENT_NAMES, ComponentName, ComponentPolicy, Training


def stage_trainings(training: Training) -> list[Training]:
    """A training for each stage, without stages of its own; the training itself if it has none."""
    return [_of_stage(training, stage) for stage in training.stages] or [training]


def frozen_components(training: Training) -> frozenset[ComponentName]:
    """The components that a training without stages, or one stage of it, freezes."""
    return frozenset(name for name in COMPONENT_NAMES if getattr(training.components, name).frozen)


def always_frozen(training: Training) -> frozenset[ComponentName]:
    """The components that no stage of a training trains."""
    return frozenset.intersection(*(frozen_components(stage) for stage in stage_trainings(training)))


def _of_stage(training: Training, stage: Stage) -> Training:
    policies: dict[str, ComponentPolicy] = {}
    for name in COMPONENT_NAMES:
        changes = getattr(stage.components, name).model_dump(exclude_none=True)
        policies[name] = getattr(training.components, name).model_copy(update=changes)
    loss = training.loss
    if stage.lambda_individual is not None:
        loss = loss.model_copy(update={"lambda_individual": stage.lambda_individual})
    components = training.components.model_copy(update=policies)
    return training.model_copy(update={"components": components, "loss": loss, "stages": ()})
