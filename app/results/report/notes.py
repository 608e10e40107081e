"""What a report cannot claim: controls that are missing, and those that are trained in another way than the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session

from app.jobs import queries
from app.jobs.sources import Source
from app.models import Job
from app.results.report.control_figures import BEST_EXPERT, FREE_CONTROLS
from app.results.report.schemas import ControlFigure
from app.results.report.sources import part_of
from app.results.report.training_differences import difference_notes
from core.spec import ComponentRef, SpecError, parse_stored
from core.spec.controls import THIS_JOB
from core.spec.stage_trainings import always_frozen, stage_trainings

NO_CONTROLS = (
    "No control was trained with this job, so this report cannot say whether fusion beats a single network on the "
    "same data."
)
HOW_TO_GET_THEM = " Submit it with `controls: true` to know."
BY_ARCHITECTURE = (
    "{who} never trained alone, so that {whose} single network is trained by the recipe of the architecture, with the "
    "batch size, precision and augmentation that this job gives."
)
NO_INDIVIDUAL_LOSS = (
    "lambda_individual is 0, so that no labels train the heads of this job's experts: the experts alone, and ensembles "
    "of them, say nothing about what they could reach."
)
ONE_SEED = (
    "The verdict rests on one training seed: other seeds can change it; a sweep over training.seed says by how much."
)


def selection_notes(job: Job, sources: Sequence[Source], controls: Sequence[ControlFigure]) -> list[str]:
    """Which of these models had their checkpoints chosen on the test images."""
    chosen = ["this job"] if _selects_on_test(job.spec) else []
    chosen += [
        f"{part_of(source)} ({source.job_id})"
        for source in sources
        if source.job is not None and _selects_on_test(source.job.spec)
    ]
    chosen += [one.label for one in controls if one.training.get("select_on") == "test"]
    if not chosen:
        return []
    return [
        "The test images chose the checkpoints (training.select_on: test), so that accuracies on them are too high, "
        f"by an amount that is not known: {', '.join(dict.fromkeys(chosen))}."
    ]


def _selects_on_test(spec: Mapping[str, Any]) -> bool:
    return bool((spec.get("training") or {}).get("select_on") == "test")


def notes_of(session: Session, job: Job, controls: Sequence[ControlFigure], num_classes: int) -> list[str]:
    """The notes of a job with a fused path, on test images of so many classes."""
    notes = []
    trained = [control for control in controls if control.role not in (BEST_EXPERT, *FREE_CONTROLS)]
    missing = [control for control in controls if control.is_missing and control.same_data is not False]
    impossible = [one.label for one in trained if one.model is None and not one.is_missing and one.absent != THIS_JOB]
    if missing:
        notes.append(f"Not every control could be measured, so the best one may be another: {_with_reasons(missing)}.")
    if impossible:
        notes.append(
            f"Some controls are not possible for this job, for reasons that the table of controls has: "
            f"{', '.join(impossible)}."
        )
    if not trained:
        notes.append(NO_CONTROLS + (HOW_TO_GET_THEM if job.kind == "fusion" else ""))
    notes += _other_data(trained)
    notes += difference_notes(job, trained, experts_are_trained=_trains_experts(job))
    if job.kind == "fusion" and _trains_experts(job) and not _has_individual_loss(job):
        notes.append(NO_INDIVIDUAL_LOSS)
    notes += _guesses(controls, num_classes)
    if any(control.model is not None and control.role.startswith("single_") for control in trained):
        notes += _recipes(session, job)
    if any(control.model is not None for control in controls):
        notes.append(ONE_SEED)
        notes.append("The best control is chosen on the same test images, which favours it.")
    return notes


def _with_reasons(controls: Sequence[ControlFigure]) -> str:
    """Labels with the reasons why there are no figures, each reason once."""
    reasons: dict[str, list[str]] = {}
    for control in controls:
        reasons.setdefault(control.absent or "", []).append(control.label)
    return "; ".join(f"{', '.join(labels)}: {why}" for why, labels in reasons.items())


def _other_data(trained: Sequence[ControlFigure]) -> list[str]:
    """Controls that were trained on other data than the job, or perhaps were."""
    notes = []
    if other := [one for one in trained if one.same_data is False]:
        notes.append(f"Trained on other data than this job, and so left out of the comparison: {_with_reasons(other)}.")
    if unknown := [one.label for one in trained if one.model is not None and one.same_data is None]:
        notes.append(
            f"Whether it was trained on the data of this job is not known, since their content was not recorded: "
            f"{', '.join(unknown)}."
        )
    return notes


def _trains_experts(job: Job) -> bool:
    """Of a specification that cannot be read any more, it is assumed."""
    try:
        return "experts" not in always_frozen(parse_stored(job.spec).training)
    except SpecError:
        return True


def _has_individual_loss(job: Job) -> bool:
    try:
        stages = stage_trainings(parse_stored(job.spec).training)
    except SpecError:
        return True
    return any(stage.loss.lambda_individual > 0 for stage in stages)


def _guesses(controls: Sequence[ControlFigure], num_classes: int) -> list[str]:
    """Controls whose interval has the accuracy of guessing, or is below it."""
    chance = 1 / num_classes
    return [
        f"{one.label[:1].upper()}{one.label[1:]} is no better than guessing (one of {num_classes:,} classes: "
        f"{100 * chance:.1f} %); a control that was not trained well proves nothing."
        for one in controls
        if one.model is not None and one.model.low is not None and one.model.low <= chance
    ]


def _recipes(session: Session, job: Job) -> list[str]:
    """Which experts have no recipe of their own for their single network."""
    known: dict[str, bool] = {}
    experts = job.spec.get("experts", [])
    joint = [k for k, expert in enumerate(experts) if not _trained_alone(session, expert.get("from"), known)]
    if not joint:
        return []
    if len(joint) == 1:
        return [BY_ARCHITECTURE.format(who=f"Expert {joint[0]} was", whose="its")]
    who = "The experts were" if len(joint) == len(experts) else f"Experts {', '.join(map(str, joint))} were"
    return [BY_ARCHITECTURE.format(who=who, whose="their")]


def _trained_alone(session: Session, source: dict[str, Any] | None, known: dict[str, bool]) -> bool:
    if not source:
        return False
    ref = ComponentRef.model_validate(source)
    key = str(ref)
    if key not in known:
        row = queries.find_component(session, ref)
        known[key] = row is None or row.kind == "expert"
    return known[key]
