"""How the experts' own losses are combined: a reduction, or a multiple-choice loss with its options."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from core.spec.fields import NonNegative, Positive, SpecModel

Reduction = Literal["sum", "mean"]
IndividualType = Literal["sum", "mean", "wta", "relaxed", "annealed", "confident"]
AnnealingSchedule = Literal["exponential", "linear"]
# The options of each type that has any.
OPTIONS: dict[str, tuple[str, ...]] = {
    "relaxed": ("epsilon",),
    "annealed": ("temperature", "final_temperature", "schedule"),
    "confident": ("confidence_weight",),
}
EPSILON = 0.05
TEMPERATURE = 1.0
# The last temperature as a fraction of the first one.
FINAL_TEMPERATURE_FACTOR = 0.01
CONFIDENCE_WEIGHT = 0.75


class IndividualLoss(SpecModel):
    """How the experts' losses on an image become one individual loss.

    `sum` and `mean` train every expert on every image. The others are multiple-choice losses, which let experts
    specialise: `wta` trains only the expert with the smallest loss (arXiv:1606.07839); `relaxed` gives the winner the
    weight 1 - `epsilon` and shares `epsilon` among the others (arXiv:1612.00197); `annealed` weights the experts by a
    softmin whose temperature falls from `temperature` to `final_temperature` over the steps that train the experts
    (arXiv:2407.15580); `confident` also pulls the predictions of all but the winner to the uniform distribution, with
    weight `confidence_weight` (arXiv:1706.03475). `type` null means the value of `individual_reduction`. Null options
    have the defaults that their description names; an option of another type is refused.
    """

    type: IndividualType | None = None
    # At most a half, so that no other expert ever has more weight than the winner.
    epsilon: Annotated[float, Field(ge=0.0, le=0.5)] | None = None
    temperature: Positive | None = None
    final_temperature: NonNegative | None = None
    schedule: AnnealingSchedule | None = None
    confidence_weight: NonNegative | None = None

    @property
    def is_multiple_choice(self) -> bool:
        """Whether the experts of an image are trained with different weights."""
        return self.type not in (None, "sum", "mean")

    @model_validator(mode="after")
    def _check_options(self) -> IndividualLoss:
        for owner, names in OPTIONS.items():
            for name in names:
                if getattr(self, name) is None or self.type == owner:
                    continue
                if self.type is None:
                    raise ValueError(f"{name} is an option of type {owner}: give type: {owner}, or remove {name}")
                raise ValueError(f"{name} is an option of type {owner}, not of {self.type}: remove it")
        return self

    @model_validator(mode="after")
    def _check_temperatures(self) -> IndividualLoss:
        first, last = self.temperature or TEMPERATURE, self.final_temperature
        if last is not None and last > first:
            raise ValueError(
                f"final_temperature is {last:g}, above the temperature {first:g} at which training starts: "
                "the temperature falls, so give a lower final_temperature or a higher temperature"
            )
        if last == 0.0 and self.schedule != "linear":
            raise ValueError(
                "final_temperature is 0, which an exponential schedule never reaches: give schedule: linear, or a "
                "higher final_temperature"
            )
        return self


def resolve_individual(
    individual: IndividualLoss, reduction: Reduction | None
) -> tuple[IndividualLoss, Reduction | None]:
    """The individual loss with its type and the options of that type, and the reduction that agrees with it.

    The reduction is null for multiple-choice losses. Idempotent.
    """
    kind = individual.type or reduction or "sum"
    first = individual.temperature or TEMPERATURE
    defaults: dict[str, Any] = {
        "epsilon": EPSILON,
        "temperature": first,
        "final_temperature": first * FINAL_TEMPERATURE_FACTOR,
        "schedule": "exponential",
        "confidence_weight": CONFIDENCE_WEIGHT,
    }
    options = {name: defaults[name] for name in OPTIONS.get(kind, ()) if getattr(individual, name) is None}
    resolved = individual.model_copy(update={"type": kind, **options})
    return resolved, kind if kind == "sum" or kind == "mean" else None
