"""The individual loss of a job in words, for its plan, and what does not go together with it. Needs no torch."""

from __future__ import annotations

from itertools import groupby

from core.spec.individual_loss import IndividualLoss
from core.spec.jobs import EvaluateJob, ExpertJob, JobSpec
from core.spec.stage_trainings import always_frozen, frozen_components, stage_trainings

_LINES = {
    "sum": "sum: every expert's cross-entropy",
    "mean": "mean: the experts' cross-entropies",
    "wta": "wta: cross-entropy of the expert with the smallest one",
    "relaxed": "relaxed: weight {winner:g} for the expert with the smallest cross-entropy, {epsilon:g} for all others",
    "annealed": "annealed: softmin at temperature {temperature:g}, falling to {final_temperature:g} ({schedule})",
    "confident": "confident: cross-entropy of the winner, weight {confidence_weight:g} for the others' divergence from "
    "uniform",
}


def describe_individual_loss(spec: JobSpec) -> str:
    """One line about the individual loss of a resolved specification; it says so where no expert has one."""
    if isinstance(spec, EvaluateJob):
        return "none: nothing is trained"
    if isinstance(spec, ExpertJob):
        return "cross-entropy of the one expert"
    if "experts" in always_frozen(spec.training):
        return "none: the experts are frozen"
    stages = [stage for stage in stage_trainings(spec.training) if "experts" not in frozen_components(stage)]
    lambdas = [f"{value:g}" for value, _ in groupby(stage.loss.lambda_individual for stage in stages)]
    return f"{_line(spec.training.loss.individual)}; lambda {', then '.join(lambdas)}"


def _line(individual: IndividualLoss) -> str:
    assert individual.type is not None
    values = individual.model_dump(exclude_none=True)
    return _LINES[individual.type].format(**values, winner=1.0 - values.get("epsilon", 0.0))


def individual_loss_warning(spec: JobSpec) -> str | None:
    """A sentence if the multiple-choice loss of a resolved specification trains nothing differently, otherwise None."""
    loss = spec.training.loss
    if isinstance(spec, EvaluateJob) or not loss.individual.is_multiple_choice:
        return None
    training_experts = [one for one in stage_trainings(spec.training) if "experts" not in frozen_components(one)]
    if isinstance(spec, ExpertJob) or len(spec.experts) == 1:
        why, advice = "one expert wins every image", "use two experts or more"
    elif not training_experts:
        why, advice = "the experts are frozen throughout", "train the experts"
    elif not any(one.loss.lambda_individual for one in training_experts):
        why, advice = "training.loss.lambda_individual is 0", "give a higher lambda_individual"
    else:
        return None
    return (
        f"training.loss.individual.type is {loss.individual.type}, but {why}, so it has no effect: "
        f"{advice}, or remove it"
    )


def distillation_warning(spec: JobSpec) -> str | None:
    """A sentence if distillation makes the experts of a resolved specification alike while their loss sets them apart.

    None for all other specifications.
    """
    if isinstance(spec, EvaluateJob | ExpertJob) or len(spec.experts) == 1:
        return None
    if "experts" in always_frozen(spec.training):
        return None
    loss = spec.training.loss
    if not loss.individual.is_multiple_choice or not loss.distillation_weight:
        return None
    return (
        f"Distillation (weight {loss.distillation_weight:g}) makes the experts alike, while the individual loss "
        f"{loss.individual.type} lets them differ: set training.loss.distillation_weight to 0 to let them specialise."
    )
