"""What a report cannot claim: controls that are missing, and those that are trained in another way than the job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from app.jobs import queries
from app.models import Job
from app.results.report.control_figures import BEST_EXPERT, FREE_CONTROLS, SETTINGS
from app.results.report.schemas import ControlFigure
from core.spec import ComponentRef
from core.spec.controls import THIS_JOB

NO_CONTROLS = (
    "No control was trained with this job, so this report cannot say whether fusion beats a single network on the "
    "same data."
)
HOW_TO_GET_THEM = " Submit it with `controls: true` to know."
BY_ARCHITECTURE = (
    "{who} never trained alone, so that {whose} single network is trained by the recipe of the architecture, with the "
    "batch size, precision and augmentation that this job gives."
)


def notes_of(session: Session, job: Job, controls: Sequence[ControlFigure]) -> list[str]:
    """The notes of a job with a fused path."""
    notes = []
    trained = [control for control in controls if control.role not in (BEST_EXPERT, *FREE_CONTROLS)]
    missing = [control for control in controls if control.model is None and control.absent != THIS_JOB]
    if missing:
        names = "; ".join(f"{control.label}: {control.absent}" for control in missing)
        notes.append(f"Not every control could be measured, so the best one may be another: {names}.")
    elif not trained:
        notes.append(NO_CONTROLS + (HOW_TO_GET_THEM if job.kind == "fusion" else ""))
    notes += _other_data(trained)
    notes += _differences(job, trained)
    if any(control.model is not None and control.role.startswith("single_") for control in trained):
        notes += _recipes(session, job)
    if any(control.model is not None for control in controls):
        notes.append("The best control is chosen on the same test images, which favours it.")
    return notes


def _other_data(trained: Sequence[ControlFigure]) -> list[str]:
    """Controls that were trained on other data than the job, or perhaps were."""
    notes = []
    if other := [one.label for one in trained if one.same_data is False]:
        notes.append(f"Trained on other data than this job, and so left out of the comparison: {', '.join(other)}.")
    if unknown := [one.label for one in trained if one.model is not None and one.same_data is None]:
        notes.append(
            f"Whether it was trained on the data of this job is not known, since their content was not recorded: "
            f"{', '.join(unknown)}."
        )
    return notes


def _differences(job: Job, trained: Sequence[ControlFigure]) -> list[str]:
    """Settings that controls and the job do not have in common."""
    training = job.spec["training"]
    notes = []
    epochs = training.get("epochs")
    unequal = [f"{one.label} {one.epochs:,}" for one in trained if one.epochs is not None and one.epochs != epochs]
    if unequal and epochs is not None:
        notes.append(f"This job trained for {epochs:,} epochs, its controls for others: {', '.join(unequal)}.")
    for name in SETTINGS:
        own, what = training.get(name), name.replace("_", " ")
        others = [one for one in trained if name in one.training and one.training[name] != own]
        if others:
            told = ", ".join(f"{one.label} {_value(one.training[name])}" for one in others)
            notes.append(f"The {what} of this job is {_value(own)}, that of controls another: {told}.")
    return notes


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


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "its own"
    return "not known" if value is None else str(value)
