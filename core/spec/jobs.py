"""The four kinds of job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from core.spec.dataset import DatasetSpec
from core.spec.evaluation import EvaluationOptions
from core.spec.fields import ComponentRef, SafeName, SpecModel, Text, field_error
from core.spec.models import ExpertSpec, FeatureDim, FusionSpec, HeadSpec, SoloExpertSpec
from core.spec.recipes import PRESETS
from core.spec.resources import Resources, Tracking
from core.spec.stage_trainings import always_frozen, frozen_components, stage_trainings
from core.spec.training import COMPONENT_NAMES, Checkpointing, ComponentName, Training

MAX_EXPERTS = 64


class Job(SpecModel):
    """The fields that every kind of job has."""

    name: Text = ""
    tags: Annotated[tuple[SafeName, ...], Field(strict=False, max_length=32)] = ()
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    dataset: DatasetSpec = DatasetSpec()
    training: Training = Training()
    checkpoint: Checkpointing = Checkpointing()
    evaluation: EvaluationOptions = EvaluationOptions()
    resources: Resources = Resources()
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    tracking: Tracking = Tracking()


def _check_every_stage_trains(training: Training, components: Sequence[ComponentName]) -> None:
    if not training.stages:
        return
    for index, stage in enumerate(stage_trainings(training)):
        if frozen_components(stage).issuperset(components):
            msg = f"this stage freezes {', '.join(components)}: there is nothing to train in it"
            raise field_error(("training", "stages", index), msg)


def _check_gradients(training: Training, reason: str) -> None:
    if training.gradients != "sum":
        msg = f"{training.gradients} combines the gradients of two losses at the experts, but {reason}: remove it"
        raise field_error(("training", "gradients"), msg)


class ExpertJob(Job):
    """Trains one expert alone on its shard and saves it as component `expert_0`."""

    kind: Literal["expert"]
    expert: SoloExpertSpec

    @model_validator(mode="after")
    def _check_shard(self) -> ExpertJob:
        shards = self.dataset.split.num_shards
        if self.expert.shard >= shards:
            counted = f"{shards} {'shard' if shards == 1 else 'shards'}"
            msg = f"is {self.expert.shard}, but the split has {counted}, numbered from 0"
            raise field_error(("expert", "shard"), msg)
        return self

    @model_validator(mode="after")
    def _check_not_frozen(self) -> ExpertJob:
        if self.training.components.experts.frozen:
            msg = "the experts are frozen: there is nothing to train"
            raise field_error(("training", "components", "experts", "frozen"), msg)
        _check_every_stage_trains(self.training, ("experts",))
        _check_gradients(self.training, "an expert job trains one expert by its own loss alone")
        return self

    def sources(self) -> dict[str, ComponentRef]:
        """The components that this job starts from, by the path of the field that names them."""
        return {"expert": self.expert.source} if self.expert.source else {}


class _Assembled(Job):
    """A job with several experts and their fusion. One entry in `experts` stands for `num_experts` equal experts."""

    experts: Annotated[tuple[ExpertSpec, ...], Field(strict=False, min_length=1, max_length=MAX_EXPERTS)]
    num_experts: Annotated[int, Field(ge=1, le=MAX_EXPERTS)] | None = None
    fusion: FusionSpec = FusionSpec()
    head: HeadSpec = HeadSpec()
    input_dim: FeatureDim | None = None

    @model_validator(mode="after")
    def _check_count(self) -> _Assembled:
        if self.num_experts not in (None, len(self.experts)) and len(self.experts) != 1:
            msg = (
                f"is {self.num_experts}, but experts has {len(self.experts)} entries: "
                "give one entry (for equal experts), num_experts entries, or omit num_experts"
            )
            raise field_error(("num_experts",), msg)
        return self

    def sources(self) -> dict[str, ComponentRef]:
        """The components that this job starts from, by the path of the field that names them."""
        named = {f"experts.{k}": expert.source for k, expert in enumerate(self.experts)}
        named |= {"fusion": self.fusion.source, "head": self.head.source}
        return {field: ref for field, ref in named.items() if ref is not None}

    def _require(self, *fields: str) -> None:
        missing = [field for field in fields if field not in self.sources()]
        if missing:
            raise ValueError(f"this kind of job needs existing components: give a `from` in {', '.join(missing)}")


class FusionJob(_Assembled):
    """Trains experts, fusion module and global head jointly.

    `controls` trains beside it what fusion has to beat: single networks on all the data, their ensemble, and the same
    fusion of frozen experts.
    """

    kind: Literal["fusion"]
    controls: bool = False

    @model_validator(mode="after")
    def _check_not_frozen(self) -> FusionJob:
        if not self.training.stages and len(frozen_components(self.training)) == len(COMPONENT_NAMES):
            msg = "experts, fusion and head are all frozen: there is nothing to train"
            raise field_error(("training", "components"), msg)
        _check_every_stage_trains(self.training, COMPONENT_NAMES)
        if "experts" in always_frozen(self.training):
            _check_gradients(self.training, "the experts are frozen throughout, so that no gradient reaches them")
        elif not any(self._has_two_losses(stage) for stage in stage_trainings(self.training)):
            one_expert = (self.num_experts or len(self.experts)) == 1
            no_distillation = "one expert has none to distil from" if one_expert else "distillation_weight is 0"
            _check_gradients(self.training, f"lambda_individual is 0 and {no_distillation}, so that there is one loss")
        return self

    def _has_two_losses(self, training: Training) -> bool:
        """Whether both the fused and the individual paths have a gradient at the experts in a stage."""
        loss, preset = training.loss, PRESETS[training.preset]
        weight = preset.distillation_weight if loss.distillation_weight is None else loss.distillation_weight
        distils = weight > 0 and (self.num_experts or len(self.experts)) > 1
        return "experts" not in frozen_components(training) and (loss.lambda_individual > 0 or distils)


class HeadJob(_Assembled):
    """Trains a new global head on existing, frozen experts and fusion module."""

    kind: Literal["head"]

    @model_validator(mode="after")
    def _check_sources(self) -> HeadJob:
        self._require(*(f"experts.{k}" for k in range(len(self.experts))), "fusion")
        if self.training.components.head.frozen:
            msg = "the head is frozen: there is nothing to train"
            raise field_error(("training", "components", "head", "frozen"), msg)
        _check_every_stage_trains(self.training, ("head",))
        for index, stage in enumerate(self.training.stages):
            if stage.components.experts.frozen is False or stage.components.fusion.frozen is False:
                msg = (
                    "this stage trains experts or fusion, but a head job trains the global head alone: remove it, or "
                    "use kind: fusion"
                )
                raise field_error(("training", "stages", index), msg)
        _check_gradients(self.training, "a head job trains the global head alone")
        return self


class EvaluateJob(_Assembled):
    """Evaluates existing components on the test set without training."""

    kind: Literal["evaluate"]

    @model_validator(mode="after")
    def _check_sources(self) -> EvaluateJob:
        self._require(*(f"experts.{k}" for k in range(len(self.experts))), "fusion", "head")
        return self


JobSpec = Annotated[ExpertJob | FusionJob | HeadJob | EvaluateJob, Field(discriminator="kind")]
AssembledJob = FusionJob | HeadJob | EvaluateJob
KINDS: dict[str, type[ExpertJob] | type[FusionJob] | type[HeadJob] | type[EvaluateJob]] = {
    "expert": ExpertJob,
    "fusion": FusionJob,
    "head": HeadJob,
    "evaluate": EvaluateJob,
}
