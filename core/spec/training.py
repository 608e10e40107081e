"""How a job trains: loss, the policy of every component, precision, augmentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from core.spec.augmentation import AugmentationOverride
from core.spec.fields import Count, Fraction, NonNegative, Positive, Seed, SpecModel, accept_old_name
from core.spec.individual_loss import IndividualLoss, Reduction
from core.spec.stages import MAX_EPOCHS, Stages

Preset = Literal["readme", "as_run", "as_run_non_iid"]
Optimizer = Literal["adamw", "sgd"]
ScheduleType = Literal["constant", "CosineAnnealingLR", "CosineAnnealingWarmRestarts"]
ComponentName = Literal["experts", "fusion", "head"]
COMPONENT_NAMES: tuple[ComponentName, ...] = ("experts", "fusion", "head")
# Optimizer groups: one per component, and one for experts' heads that the joint phase replaces.
GroupName = Literal["experts", "fusion", "head", "expert_heads"]


class Schedule(SpecModel):
    """A learning-rate schedule, advanced once per epoch. Times are in epochs.

    The lowest rate of a cosine is `min_lr_factor` times the base rate (`eta_min` is accepted as its old name). `t_max`
    (CosineAnnealingLR) defaults to `epochs`, `t_0` (CosineAnnealingWarmRestarts, arXiv:1608.03983) to
    `max(1, epochs // 4)`.
    """

    type: ScheduleType = "constant"
    t_max: Count | None = None
    t_0: Count | None = None
    t_mult: Annotated[int, Field(ge=1, le=100)] = 2
    min_lr_factor: Fraction = 0.1

    @model_validator(mode="before")
    @classmethod
    def _accept_eta_min(cls, data: Any) -> Any:
        return accept_old_name(data, "eta_min", "min_lr_factor")


class ComponentPolicy(SpecModel):
    """The optimizer group of one component; null means the preset's value.

    `clip_norm` bounds the norm of the component's gradient (0: no clipping). With `accumulation_steps` n its optimizer
    steps every n-th batch on the mean of the n gradients. A `frozen` component changes neither weights nor
    normalisation statistics.
    """

    lr: Positive | None = None
    clip_norm: NonNegative | None = None
    accumulation_steps: Annotated[int, Field(ge=1, le=1024)] | None = None
    schedule: ScheduleType | Schedule | None = None
    weight_decay: NonNegative | None = None
    optimizer: Optimizer | None = None
    frozen: bool = False


class Components(SpecModel):
    """The policy of every component: experts with their heads, fusion module with its adapters, global head.

    `expert_heads` is for heads that the joint phase replaces, because the expert was trained on other classes. They
    start untrained, so their default learning rate is the global head's; everything else defaults to the experts'.
    """

    experts: ComponentPolicy = ComponentPolicy()
    fusion: ComponentPolicy = ComponentPolicy()
    head: ComponentPolicy = ComponentPolicy()
    expert_heads: ComponentPolicy | None = None

    @model_validator(mode="after")
    def _check_new_heads_train(self) -> Components:
        if self.expert_heads is not None and self.expert_heads.frozen:
            raise ValueError("expert_heads cannot be frozen: new heads start untrained; freeze experts to keep theirs")
        return self


class Loss(SpecModel):
    """L = CE(fused) + lambda_individual * combine_k CE(expert k) + distillation_weight * KD.

    `individual` says how the experts' losses are combined; `individual_reduction` is a short form of its types `sum`
    and `mean`. Null means the preset's value. `alpha` is accepted as another name for `lambda_individual`.
    """

    lambda_individual: NonNegative = 1.0
    individual_reduction: Reduction | None = None
    individual: IndividualLoss = IndividualLoss()
    distillation_weight: NonNegative | None = None
    distillation_temperature: Positive = 2.0
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_alpha(cls, data: Any) -> Any:
        return accept_old_name(data, "alpha", "lambda_individual")

    @model_validator(mode="after")
    def _check_one_type(self) -> Loss:
        reduction, kind = self.individual_reduction, self.individual.type
        if reduction is not None and kind is not None and kind != reduction:
            raise ValueError(
                f"individual_reduction is {reduction}, but individual.type is {kind}: "
                "give only one of them, and null for the other"
            )
        return self


class Training(SpecModel):
    """Length, batch size, precision, preset, loss, component policies and augmentation.

    `clip_norm` bounds the norm of all gradients together, in addition to the components' own bounds (0: none).
    `precision` `auto` is bfloat16 autocast where the hardware supports it; an evaluate job then uses the precision of
    the run that it measures. `compile` null means only on CUDA. `select_on: "test"` exists only to reproduce runs that
    selected their checkpoint on the test set. The epochs of the `stages` sum up to `epochs`. `gradients` is how the
    gradients of the fused path and of the individual paths (distillation included) are combined at the experts: their
    `sum`, or `pcgrad` (arXiv:2001.06782), which first removes from each what conflicts with the other, tensor by
    tensor.
    """

    preset: Preset = "readme"
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] | None = None
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
    stages: Stages = ()
    gradients: Literal["sum", "pcgrad"] = "sum"

    @model_validator(mode="after")
    def _check_stages(self) -> Training:
        total = sum(stage.epochs for stage in self.stages)
        if total > MAX_EPOCHS:
            raise ValueError(f"the epochs of the stages sum up to {total:,}; at most {MAX_EPOCHS:,} are allowed")
        if self.stages and self.epochs not in (None, total):
            raise ValueError(
                f"epochs is {self.epochs}, but the epochs of the stages sum up to {total}: "
                "change the stages, or remove epochs"
            )
        return self


class Checkpointing(SpecModel):
    """A checkpoint every `every_epochs` epochs (and every `every_steps` steps if given); the newest `keep` are kept."""

    every_epochs: Count = 1
    every_steps: Count | None = None
    keep: Annotated[int, Field(ge=1, le=1000)] = 2
