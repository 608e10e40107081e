"""Settings of a training in which a job and its controls may differ, and notes about those that do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.models import Job
from app.results.report.schemas import ControlFigure

_OF_EVERY_JOB = ("batch_size", "precision", "augmentation")
_OF_EXPERTS = ("learning_rate", "optimizer", "schedule", "weight_decay", "label_smoothing")


def training_settings(job: Job) -> dict[str, Any]:
    """The settings of a job that matter for a comparison; those from the learning rate on are of its experts."""
    training = job.spec["training"]
    experts = (training.get("components") or {}).get("experts") or {}
    rates = (job.plan or {}).get("learning_rates") or {}
    rate = experts.get("lr") if experts.get("lr") is not None else rates.get("experts")
    schedule = experts.get("schedule")
    return {name: training.get(name) for name in (*_OF_EVERY_JOB, "select_on")} | {
        "learning_rate": rate,
        "optimizer": experts.get("optimizer"),
        "schedule": schedule.get("type") if isinstance(schedule, Mapping) else schedule,
        "weight_decay": experts.get("weight_decay"),
        "label_smoothing": (training.get("loss") or {}).get("label_smoothing"),
    }


def difference_notes(job: Job, trained: Sequence[ControlFigure], *, experts_are_trained: bool) -> list[str]:
    """What controls and the job do not have in common; the settings of experts only where the job trains them."""
    own = training_settings(job)
    notes = _epochs(job, trained)
    for name in _OF_EVERY_JOB:
        others = [one for one in trained if name in one.training and one.training[name] != own[name]]
        if others:
            notes.append(_note(name.replace("_", " "), own[name], others, name))
    return notes + (_of_experts(own, trained) if experts_are_trained else [])


def _epochs(job: Job, trained: Sequence[ControlFigure]) -> list[str]:
    epochs = job.spec["training"].get("epochs")
    unequal = [f"{one.label} for {one.epochs:,}" for one in trained if one.epochs is not None and one.epochs != epochs]
    if not unequal or epochs is None:
        return []
    return [f"This job trained for {epochs:,} epoch{'s' if epochs != 1 else ''}; {'; '.join(unequal)}."]


def _note(what: str, own: object, others: Sequence[ControlFigure], name: str) -> str:
    if any(isinstance(value, Mapping) for value in (own, *(one.training[name] for one in others))):
        return f"The {what} of this job is not that of {', '.join(one.label for one in others)}."
    differences = "; ".join(f"that of {one.label} is {_value(one.training[name])}" for one in others)
    return f"The {what} of this job is {_value(own)}; {differences}."


def _of_experts(own: Mapping[str, Any], trained: Sequence[ControlFigure]) -> list[str]:
    """A note for each set of differences between the experts of the job and single networks."""
    labels: dict[tuple[str, str], list[str]] = {}
    for one in trained:
        names = [name for name in _OF_EXPERTS if name in one.training and one.training[name] != own[name]]
        if names and not one.role.startswith("frozen"):
            ours, theirs = (
                ", ".join(f"{name.replace('_', ' ')} {_value(values[name])}" for name in names)
                for values in (own, one.training)
            )
            labels.setdefault((ours, theirs), []).append(one.label)
    return [
        f"This job trains its experts with {ours}; {' and '.join(same)} {'was' if len(same) == 1 else 'were'} trained "
        f"with {theirs}."
        for (ours, theirs), same in labels.items()
    ]


def _value(value: object) -> str:
    if value is None:
        return "not known"
    return f"{value:g}" if isinstance(value, float) else str(value)
