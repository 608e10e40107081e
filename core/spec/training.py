"""How a job trains: loss, the policy of every component, precision, augmentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from core.spec.augmentation import AugmentationOverride
from core.spec.fields import Count, Fraction, NonNegative, Positive, Seed, SpecModel

Preset = Literal["readme", "as_run", "as_run_non_iid"]
Optimizer = Literal["adamw", "sgd"]
ScheduleType = Literal["constant", "CosineAnnealingLR", "CosineAnnealingWarmRestarts"]
ComponentName = Literal["experts", "fusion", "head"]
COMPONENT_NAMES: tuple[ComponentName, ...] = ("experts", "fusion", "head")


class Schedule(SpecModel):
    """A learning-rate schedule, stepped once an epoch; times are in epochs, `eta_min` is a fraction of the base rate.

    `t_max` (CosineAnnealingLR) is `epochs` unless given; `t_0` (CosineAnnealingWarmRestarts, arXiv:1608.03983) is
    `max(1, epochs // 4)` unless given.
    """

    type: ScheduleType = "constant"
    t_max: Count | None = None
    t_0: Count | None = None
    t_mult: Annotated[int, Field(ge=1, le=100)] = 2
    eta_min: Fraction = 0.1


class ComponentPolicy(SpecModel):
    """The optimizer group of one component; null means the preset's value.

    `clip_norm` bounds the norm of the component's gradient (0: no clipping). With `accumulation_steps` n its optimizer
    steps every n-th batch on the mean of the n gradients. `frozen` keeps weights and normalisation statistics still.
    """

    lr: Positive | None = None
    clip_norm: NonNegative | None = None
    accumulation_steps: Annotated[int, Field(ge=1, le=1024)] | None = None
    schedule: ScheduleType | Schedule | None = None
    weight_decay: NonNegative | None = None
    optimizer: Optimizer | None = None
    frozen: bool = False


class Components(SpecModel):
    """One policy a component: experts with their own heads, fusion module with its adapters, global head."""

    experts: ComponentPolicy = ComponentPolicy()
    fusion: ComponentPolicy = ComponentPolicy()
    head: ComponentPolicy = ComponentPolicy()


class Loss(SpecModel):
    """L = CE(fused) + lambda_individual * reduce_k CE(expert k) + distillation_weight * KD; null means by preset.

    `alpha` is accepted for `lambda_individual`.
    """

    lambda_individual: NonNegative = 1.0
    individual_reduction: Literal["sum", "mean"] = "sum"
    distillation_weight: NonNegative | None = None
    distillation_temperature: Positive = 2.0
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _alpha(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "alpha" not in data:
            return data
        if "lambda_individual" in data:
            raise ValueError("alpha is another name for lambda_individual: give one of them")
        return {("lambda_individual" if key == "alpha" else key): value for key, value in data.items()}


class Training(SpecModel):
    """How long, how large, how precise, and by which preset.

    `clip_norm` is one bound for the norm of all gradients together, beside the components' own (0: none). `precision`
    `auto` is bfloat16 autocast where the hardware has it. `compile` null means on CUDA only. `select_on: "test"` exists
    only to reproduce runs that chose their checkpoint on the test set.
    """

    preset: Preset = "readme"
    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    seed: Seed = 42
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    deterministic: bool = False
    compile: bool | None = None
    select_on: Literal["val", "test"] = "val"
    clip_norm: NonNegative | None = None
    loss: Loss = Loss()
    components: Components = Components()
    augmentation: Literal["auto", "none"] | AugmentationOverride = "auto"


class Checkpointing(SpecModel):
    """A checkpoint every `every_epochs` epochs (and every `every_steps` steps if given); the newest `keep` stay."""

    every_epochs: Count = 1
    every_steps: Count | None = None
    keep: Annotated[int, Field(ge=1, le=1000)] = 2
