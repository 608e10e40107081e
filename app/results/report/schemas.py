"""The report of a job as the API shows it: nothing in it that was not measured."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from app.results.predictions.schemas import Difference, Model


class Figure(BaseModel):
    """A path of the job: its figures on test, and the fused accuracy minus its own (null for the fused path)."""

    label: str
    model: Model
    fused_minus: Difference | None


class ControlFigure(BaseModel):
    """A control with its figures and the fused accuracy minus its own; without them, `absent` says why.

    `jobs` are the jobs that it was measured from; empty for those that follow from this job's own predictions. `epochs`
    is how long the first of them trained, and `training` the settings of it that this job may have otherwise.
    `same_data` says whether all of them were trained on the data of this job, null where their content is not known: a
    control of other data is not measured. `is_missing` is true where a job was to measure it and there are no figures:
    it has been deleted, has not succeeded, or is left out.
    """

    role: str
    label: str
    jobs: list[str]
    same_data: bool | None
    epochs: int | None
    training: dict[str, Any] = {}
    model: Model | None
    fused_minus: Difference | None
    absent: str | None
    is_missing: bool


class ExpertWorth(BaseModel):
    """What one expert is worth; values that were not measured are null.

    `contribution` is what the fused accuracy loses if its features are permuted over the images, `without` the fused
    accuracy if it is absent, `shapley` its Shapley value of the fused accuracy.
    """

    expert: int
    arch: str | None
    source: str | None
    before: float | None
    after: float | None
    contribution: float | None
    without: float | None
    shapley: float | None


class TrainedOn(BaseModel):
    """The images that the job trained and validated on, and those that it was measured on; null where not known."""

    dataset: str
    data_sha256: str | None
    regime: str
    num_shards: int
    holdout: float | None
    train: int | None
    val: int | None
    test: int | None


class Report(BaseModel):
    """What a job achieved, with intervals, controls and provenance. `verdict` says whether fusion pays.

    `best_control` is the label of the control with the highest accuracy, with which the verdict compares;
    `missing_controls` are those that would have to be measured to know that no other is better. `notes` say what the
    report cannot claim, and why. `absent` has the reason of every metric that is not there.
    """

    job: str
    name: str
    verdict: str
    best_control: str | None
    missing_controls: list[str]
    trained_on: TrainedOn
    training: dict[str, Any]
    figures: list[Figure]
    oracle: float | None
    controls: list[ControlFigure]
    experts: list[ExpertWorth]
    notes: list[str]
    absent: dict[str, str]
    provenance: str
    identity: str | None
