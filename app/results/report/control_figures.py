"""The controls of a fusion job, measured on its test images, and those that follow from its own predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlmodel import Session

from app.http.errors import Invalid, NotFound
from app.jobs import queries
from app.jobs.control_queries import ControlRow, list_controls
from app.models import Job, State
from app.results.report.measured import Measured, TestImages
from app.results.report.schemas import ControlFigure
from app.results.report.single_networks import Networks, group_networks

# The accuracy of the experts together needs no other job: by path, what it is.
FREE_CONTROLS = {
    "ensemble_probabilities": "mean of the experts' probabilities",
    "ensemble_product": "normalised product of the experts' probabilities",
}
# Settings of a training in which controls may differ from the job.
SETTINGS = ("batch_size", "precision", "augmentation")
_LABELS = {
    "frozen": "the same fusion, experts frozen",
    "matched": "one network of as many parameters",
}


_NO_PREDICTIONS = (
    "{job} stored no predictions (evaluation.store_predictions: false). Submit this job again with controls: "
    "that control is then trained anew"
)


def control_figures(
    session: Session, job: Job, images: TestImages, measured: Mapping[str, Measured]
) -> list[ControlFigure]:
    """Every control of a job that was trained or follows from its own paths, in the order of a table."""
    fused = measured["fused"]
    rows = list_controls(session, job.id)
    jobs = {other.id: other for other in queries.jobs_in_order(session, [row.job_id for row in rows if row.job_id])}
    figures = [
        _figure(path, label, [], fused, lambda path=path: measured[path])  # type: ignore[misc]
        for path, label in FREE_CONTROLS.items()
        if path in measured
    ]
    singles = [row for row in rows if row.role.startswith("single_")]
    groups = group_networks(singles, jobs)
    figures += [_of_job(_representative(group, jobs), group.label, jobs, images, fused) for group in groups]
    if len(groups) > 1:
        label = f"ensemble of {len(singles)} networks, one for each expert"
        figures.append(_ensemble("single_ensemble", label, singles, jobs, images, fused))
    several = [group for group in groups if group.known and len(group.rows) > 1]
    figures += [
        _ensemble(
            f"deep_ensemble_{number}" if number else "deep_ensemble",
            group.ensemble_label,
            group.rows,
            jobs,
            images,
            fused,
        )
        for number, group in enumerate(several)
    ]
    others = [row for row in rows if row.role in _LABELS]
    return figures + [_of_job(row, _LABELS[row.role], jobs, images, fused) for row in others]


def _representative(group: Networks, jobs: Mapping[str, Job]) -> ControlRow:
    """The first network of a group that can be measured: they differ in their seeds alone."""
    return next((row for row in group.rows if _why_absent(row, jobs) is None), group.rows[0])


def _of_job(row: ControlRow, label: str, jobs: Mapping[str, Job], images: TestImages, fused: Measured) -> ControlFigure:
    why = _why_absent(row, jobs)
    if why is not None or row.job_id is None:
        return _absent(row.role, label, [row.job_id] if row.job_id else [], why or "")
    figure = _figure(row.role, label, [row.job_id], fused, lambda: images.other(jobs[row.job_id or ""]))
    training = jobs[row.job_id].spec["training"]
    settings = {name: training.get(name) for name in SETTINGS}
    return figure.model_copy(update={"epochs": training.get("epochs"), "training": settings})


def _ensemble(
    role: str,
    label: str,
    rows: Sequence[ControlRow],
    jobs: Mapping[str, Job],
    images: TestImages,
    fused: Measured,
) -> ControlFigure:
    ids = [row.job_id for row in rows if row.job_id]
    why = next((why for row in rows if (why := _why_absent(row, jobs)) is not None), None)
    if why is not None:
        return _absent(role, label, ids, why)
    return _figure(role, label, ids, fused, lambda: images.ensemble([jobs[job] for job in ids], label))


def _why_absent(row: ControlRow, jobs: Mapping[str, Job]) -> str | None:
    """Why a control has no figures; None if its job has succeeded and was to store predictions."""
    if row.job_id is None:
        return row.absent or "its job has been deleted"
    if row.state != State.succeeded:
        return f"{row.job_id} is {row.state}"
    stored = (jobs[row.job_id].spec.get("evaluation") or {}).get("store_predictions")
    return _NO_PREDICTIONS.format(job=row.job_id) if stored is False else None


def _figure(role: str, label: str, jobs: list[str], fused: Measured, measure: Callable[[], Measured]) -> ControlFigure:
    try:
        control = measure()
    except (NotFound, Invalid) as problem:
        return _absent(role, label, jobs, problem.detail)
    return ControlFigure(
        role=role,
        label=label,
        jobs=jobs,
        epochs=None,
        model=control.model,
        fused_minus=fused.minus(control),
        absent=None,
    )


def _absent(role: str, label: str, jobs: list[str], why: str) -> ControlFigure:
    return ControlFigure(role=role, label=label, jobs=jobs, epochs=None, model=None, fused_minus=None, absent=why)
