"""The stages of a training with all that holds in each: epochs, frozen components, learning rates, loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.spec.jobs import JobSpec
from core.spec.rates import Rate, resolve_rates
from core.spec.stage_trainings import frozen_components, stage_trainings
from core.spec.training import ComponentName, GroupName, Loss


@dataclass(frozen=True)
class StageSettings:
    """One stage. `number` counts from 1, epochs from 0: `start` is the first one and `stop` the one after the last.

    `rates` are the base learning rates of all optimizer groups, those of frozen components included.
    """

    number: int
    start: int
    stop: int
    frozen: frozenset[ComponentName]
    rates: Mapping[GroupName, Rate]
    loss: Loss

    def trained_rates(self) -> dict[GroupName, float]:
        """The base learning rates of the groups that this stage trains."""
        return {name: rate.value for name, rate in self.rates.items() if owner(name) not in self.frozen}

    def describe(self) -> str:
        """The stage in words, its epochs counted from 1."""
        first, last = self.start + 1, self.stop
        epochs = f"epoch {first}" if first == last else f"epochs {first} to {last}"
        rates = [f"{name} lr {rate:g}" for name, rate in self.trained_rates().items()]
        frozen = [f"{name} frozen" for name in sorted(self.frozen)]
        text = f"{epochs}: {', '.join([*frozen, *rates])}"
        # Frozen experts have no individual loss, and an expert that is trained alone has no other one.
        weighted = "head" in self.rates and "experts" not in self.frozen
        return f"{text}; lambda {self.loss.lambda_individual:g}" if weighted else text

    def to_json(self) -> dict[str, Any]:
        """The stage as plans show it."""
        return {
            "stage": self.number,
            "first_epoch": self.start + 1,
            "last_epoch": self.stop,
            "frozen": sorted(self.frozen),
            "learning_rates": self.trained_rates(),
            "lambda_individual": self.loss.lambda_individual,
            "description": self.describe(),
        }


def owner(group: GroupName) -> ComponentName:
    """The component of an optimizer group: new heads are frozen together with the experts."""
    return "experts" if group == "expert_heads" else group


def resolve_stages(spec: JobSpec, input_dim: int, *, new_expert_heads: bool = False) -> tuple[StageSettings, ...]:
    """The stages of a resolved specification in order; a training without stages is one."""
    settings: list[StageSettings] = []
    start = 0
    lengths = [stage.epochs for stage in spec.training.stages] or [spec.training.epochs or 0]
    for number, (length, training) in enumerate(zip(lengths, stage_trainings(spec.training), strict=True), 1):
        rates = resolve_rates(
            spec.model_copy(update={"training": training}), input_dim, new_expert_heads=new_expert_heads
        )
        settings.append(StageSettings(number, start, start + length, frozen_components(training), rates, training.loss))
        start += length
    return tuple(settings)
