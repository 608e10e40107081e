"""The controls of a fusion job, measured on its test images, and those that follow from its own predictions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from app.http.errors import Invalid, NotFound
from app.jobs import queries
from app.jobs.control_queries import ControlRow, list_controls
from app.jobs.sources import Source
from app.models import Job, State
from app.results.report.content import path_label
from app.results.report.data_content import DataContent
from app.results.report.measured import Measured, TestImages
from app.results.report.schemas import ControlFigure
from app.results.report.single_networks import Networks, group_networks
from app.results.report.sources import why_other_data
from app.results.report.training_differences import training_settings

# The accuracy of the experts together needs no other job: by path, what it is.
FREE_CONTROLS = {
    "ensemble_probabilities": "mean of the experts' probabilities",
    "ensemble_product": "normalised product of the experts' probabilities",
}
BEST_EXPERT = "best_expert"
_EXPERT = re.compile(r"expert_\d+")
_LABELS = {
    "frozen": "the same fusion, experts frozen",
    "matched": "one network of as many parameters",
}
_DELETED = "its job has been deleted (submit this job again with controls: true to train it again)"
_NO_PREDICTIONS = (
    "{job} stored no predictions (evaluation.store_predictions: false). Submit this job again with controls: "
    "that control is then trained anew"
)


@dataclass(frozen=True)
class _Trained:
    """The jobs of a report's controls by id, and what they are compared with."""

    jobs: Mapping[str, Job]
    images: TestImages
    fused: Measured
    data: DataContent
    # Which part of this job's model saw other data, if one did.
    other_sources: str | None

    def why_absent(self, row: ControlRow) -> str | None:
        """Why a control has no figures; None if its job has succeeded, on the data of this job, with predictions."""
        if row.job_id is None:
            return row.absent or _DELETED
        job = self.jobs[row.job_id]
        if row.state != State.succeeded:
            again = row.state in (State.failed, State.cancelled)
            return f"{row.job_id} is {row.state}" + (f" (`mcn retry {row.job_id}` trains it again)" if again else "")
        if why := self.data.why_other(job):
            return f"{row.job_id} {why}"
        if self.other_sources and row.role != "frozen":
            return f"{self.other_sources}, so that this network did not see what experts and fusion saw together"
        stored = (job.spec.get("evaluation") or {}).get("store_predictions")
        return _NO_PREDICTIONS.format(job=row.job_id) if stored is False else None

    def same_data(self, job_ids: Sequence[str]) -> bool | None:
        """Whether all of these jobs have the data of this one; None if that is not known of one of them."""
        jobs = [self.jobs[job_id] for job_id in job_ids]
        # Of one that has yet to run, what was recorded at its submission may have changed since.
        known = [self.data.is_same(job) if job.state == State.succeeded else None for job in jobs]
        return False if False in known else None if None in known else True


def control_figures(
    session: Session,
    job: Job,
    images: TestImages,
    measured: Mapping[str, Measured],
    sources: list[Source],
    data: DataContent,
) -> list[ControlFigure]:
    """Every control of a job that was trained or follows from its own paths, in the order of a table."""
    fused = measured["fused"]
    rows = list_controls(session, job.id)
    jobs = {other.id: other for other in queries.jobs_in_order(session, [row.job_id for row in rows if row.job_id])}
    trained = _Trained(jobs, images, fused, data, why_other_data(sources, data))
    figures = _free(measured)
    singles = [row for row in rows if row.role.startswith("single_")]
    groups = group_networks(singles, jobs)
    figures += [_of_job(_representative(group, trained), group.label, trained) for group in groups]
    deleted = sum(row.job_id is None and row.absent is None for row in singles)
    if len(groups) > 1 or (deleted and len(singles) > 1):
        figures.append(_ensemble("single_ensemble", _label_of_all(groups, deleted), singles, trained))
    several = [group for group in groups if group.known and len(group.rows) > 1]
    for number, group in enumerate(several):
        role = f"deep_ensemble_{number}" if number else "deep_ensemble"
        figures.append(_ensemble(role, group.ensemble_label, group.rows, trained))
    others = [row for row in rows if row.role in _LABELS]
    return figures + [_of_job(row, _LABELS[row.role], trained) for row in others]


def _label_of_all(groups: Sequence[Networks], num_deleted: int) -> str:
    """The ensemble of all single networks; one that has been deleted is taken for a network like the others."""
    count = sum(len(group.rows) for group in groups)
    if num_deleted and sum(group.known for group in groups) < 2:
        return f"deep ensemble of {count} networks, each on all the data"
    return f"ensemble of {count} networks, one for each expert"


def _free(measured: Mapping[str, Measured]) -> list[ControlFigure]:
    """Controls that need no other job; the best expert is chosen after the training of this one."""
    own = {path: label for path, label in FREE_CONTROLS.items() if path in measured}
    roles = {path: path for path in own}
    experts = [path for path in measured if _EXPERT.fullmatch(path)]
    if experts:
        best = max(experts, key=lambda path: measured[path].model.accuracy)
        own = {best: f"best expert alone ({path_label(best)})"} | own
        roles[best] = BEST_EXPERT
    fused = measured["fused"]
    return [
        _figure(roles[path], label, [], fused, lambda path=path: measured[path])  # type: ignore[misc]
        for path, label in own.items()
    ]


def _representative(group: Networks, trained: _Trained) -> ControlRow:
    """The first network of a group that can be measured: they differ in their seeds alone."""
    return next((row for row in group.rows if trained.why_absent(row) is None), group.rows[0])


def _of_job(row: ControlRow, label: str, trained: _Trained) -> ControlFigure:
    ids = [row.job_id] if row.job_id else []
    same_data = trained.same_data(ids) if ids else None
    why = trained.why_absent(row)
    if why is not None or row.job_id is None:
        return _absent(row.role, label, ids, why or "", same_data, is_missing=_is_missing(row))
    job = trained.jobs[row.job_id]
    figure = _figure(row.role, label, ids, trained.fused, lambda: trained.images.other(job), same_data)
    settings = {"epochs": job.spec["training"].get("epochs"), "training": training_settings(job)}
    return figure.model_copy(update=settings)


def _ensemble(role: str, label: str, rows: Sequence[ControlRow], trained: _Trained) -> ControlFigure:
    ids = [row.job_id for row in rows if row.job_id]
    same_data = trained.same_data(ids)
    why = next((why for row in rows if (why := trained.why_absent(row)) is not None), None)
    if why == _DELETED:
        why = f"one of its networks is missing: {why}"
    if why is not None:
        return _absent(role, label, ids, why, same_data, is_missing=any(map(_is_missing, rows)))
    members = [trained.jobs[job] for job in ids]
    return _figure(role, label, ids, trained.fused, lambda: trained.images.ensemble(members, label), same_data)


def _figure(
    role: str,
    label: str,
    jobs: list[str],
    fused: Measured,
    measure: Callable[[], Measured],
    same_data: bool | None = True,
) -> ControlFigure:
    try:
        control = measure()
    except (NotFound, Invalid) as problem:
        return _absent(role, label, jobs, problem.detail, same_data, is_missing=True)
    return ControlFigure(
        role=role,
        label=label,
        jobs=jobs,
        same_data=same_data,
        epochs=None,
        model=control.model,
        fused_minus=fused.minus(control),
        absent=None,
        is_missing=False,
    )


def _is_missing(row: ControlRow) -> bool:
    """Whether a control that has no figures has, or had, a job that was to measure it."""
    return row.absent is None


def _absent(
    role: str, label: str, jobs: list[str], why: str, same_data: bool | None, *, is_missing: bool
) -> ControlFigure:
    return ControlFigure(
        role=role,
        label=label,
        jobs=jobs,
        same_data=same_data,
        epochs=None,
        model=None,
        fused_minus=None,
        absent=why,
        is_missing=is_missing,
    )
