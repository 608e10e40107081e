"""Stages: what changes over the epochs of a training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.spec.fields import NonNegative, Positive, SpecModel

MAX_EPOCHS = 100_000
MAX_STAGES = 100


class StageComponent(SpecModel):
    """What a stage changes of one component; null means as in `training.components`.

    `lr` is the base learning rate, to which the component's schedule applies.
    """

    frozen: bool | None = None
    lr: Positive | None = None


class StageComponents(SpecModel):
    """What a stage changes of the components. New heads of experts follow the experts and, in their rate, the head."""

    experts: StageComponent = StageComponent()
    fusion: StageComponent = StageComponent()
    head: StageComponent = StageComponent()


class Stage(SpecModel):
    """A range of epochs. What it leaves out is as in `training`.

    A component that is frozen in a stage changes neither weights nor normalisation statistics in it. Experts that are
    frozen have no individual loss. Schedules are not restarted: they run over the whole training.
    """

    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)]
    lambda_individual: NonNegative | None = None
    components: StageComponents = StageComponents()


Stages = Annotated[tuple[Stage, ...], Field(strict=False, max_length=MAX_STAGES)]
