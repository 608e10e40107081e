"""Puts the report of a job together from its result, its predictions, its controls and its provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session

from app.jobs.provenance import provenance
from app.jobs.result import stored_result
from app.jobs.sources import Source, source_jobs
from app.jobs.wording import count
from app.models import Job
from app.results.predictions.stored import NotStored
from app.results.predictions.wording import interval_text, p_text, signed_points, verdict
from app.results.report.content import Content, content_of_result, finite_metrics, path_label
from app.results.report.control_figures import control_figures
from app.results.report.data_content import DataContent
from app.results.report.measured import Measured, TestImages
from app.results.report.notes import notes_of, selection_notes
from app.results.report.schemas import ControlFigure, ExpertWorth, Figure, Report, TrainedOn
from app.results.report.sources import data_notes
from app.results.report.verdicts import keep_verdict
from app.settings import Settings
from core.run.durable import DamagedFileError, read_manifest
from core.run.rundir import RunDir
from core.spec import parse_stored
from core.spec.loss_description import describe_individual_loss

_TRAINING = ("preset", "epochs", "batch_size", "seed", "precision", "deterministic")


def report(session: Session, settings: Settings, job: Job) -> Report:
    """The report of a job that has succeeded; raises NotFound for any other.

    Without stored predictions, or with damaged ones, it has the figures of the result, which have no intervals.
    """
    result = stored_result(settings, job, what="report").fields
    metrics = finite_metrics(result)
    sources, data = source_jobs(session, job), DataContent(settings, job)
    try:
        images = TestImages(settings, job)
    except NotStored as problem:
        content = content_of_result(job, metrics, problem)
    else:
        content = _measure(session, job, images, sources, data)
    certificate = provenance(session, settings, job)
    complete = Report(
        job=job.id,
        name=job.name,
        verdict=content.verdict,
        best_control=content.best_control,
        missing_controls=[one.label for one in content.controls if one.is_missing],
        trained_on=_trained_on(job, content.num_images),
        training=_training(job),
        figures=content.figures,
        oracle=metrics.get("test/accuracy_oracle"),
        controls=content.controls,
        experts=_experts(settings, job, metrics),
        notes=[
            *selection_notes(job, sources, content.controls),
            *data_notes(sources, data),
            *content.notes,
            *(str(warning) for warning in result.get("warnings") or []),
        ],
        absent={key: str(reason) for key, reason in (result.get("absent") or {}).items()} | content.absent,
        provenance=certificate.sentence,
        identity=certificate.identity,
    )
    keep_verdict(session, job, complete)
    return complete


def _measure(session: Session, job: Job, images: TestImages, sources: list[Source], data: DataContent) -> Content:
    """What follows from stored predictions: figures with intervals, and controls on the same images."""
    measured, broken = images.paths()
    fused = measured.get("fused")
    controls = control_figures(session, job, images, measured, sources, data) if fused else []
    best = _best(controls)
    is_best_of_all = not broken and not any(control.is_missing for control in controls)
    return Content(
        verdict=_verdict(measured, fused, best, len(images.labels), is_best_of_all=is_best_of_all),
        best_control=best.label if best else None,
        num_images=len(images.labels),
        figures=[
            Figure(
                label=path_label(path),
                model=one.model,
                fused_minus=fused.minus(one) if fused and path != "fused" else None,
            )
            for path, one in measured.items()
        ],
        controls=controls,
        notes=notes_of(session, job, controls, images.stored.num_classes) if fused else [],
        absent=broken,
    )


def _best(controls: list[ControlFigure]) -> ControlFigure | None:
    """The control that is hardest to beat."""
    measured = [control for control in controls if control.model is not None]
    return max(measured, key=lambda control: control.model.accuracy if control.model else 0.0, default=None)


def _verdict(
    measured: Mapping[str, Measured],
    fused: Measured | None,
    best: ControlFigure | None,
    num_images: int,
    *,
    is_best_of_all: bool,
) -> str:
    if fused is None:
        one = next(iter(measured.values())).model
        images = count(num_images, "image")
        return f"Accuracy {100 * one.accuracy:.1f} % (95 % interval {interval_text(one)} %) on {images}"
    if best is None or best.fused_minus is None:
        return f"Fused accuracy {100 * fused.model.accuracy:.1f} %; there is nothing to compare it with"
    difference = best.fused_minus
    interval = f"95 % interval {signed_points(difference.low)} to {signed_points(difference.high)}"
    name = "best control" if is_best_of_all else "best control of those measured"
    return (
        f"Fused minus {name} ({best.label}): {signed_points(difference.value)} points, {interval}, "
        f"{p_text(difference.p)}: {verdict(difference)} on {count(num_images, 'image')}"
    )


def _trained_on(job: Job, num_test: int | None) -> TrainedOn:
    split = job.spec["dataset"]["split"]
    counted = {} if job.kind == "evaluate" else (job.plan or {}).get("dataset", {})
    return TrainedOn(
        dataset=job.spec["dataset"]["name"],
        data_sha256=job.data_sha256,
        regime=split["regime"],
        num_shards=split["num_shards"],
        holdout=split["holdout"],
        train=counted.get("train"),
        val=counted.get("val"),
        test=num_test,
    )


def _training(job: Job) -> dict[str, Any]:
    if job.kind == "evaluate":
        return {}
    training = job.spec["training"]
    values = {name: training.get(name) for name in _TRAINING}
    if "fusion" in job.spec:
        values["fusion"] = job.spec["fusion"].get("type")
        values["expert_dropout"] = job.spec["fusion"].get("expert_dropout") or None
    plan = job.plan or {}
    if job.kind == "fusion":
        values["individual_loss"] = describe_individual_loss(parse_stored(job.spec))
        values["distillation_weight"] = training["loss"].get("distillation_weight") or None
        values["gradients"] = training.get("gradients")
        stages = [stage["description"] for stage in plan.get("stages") or []]
        values["stages"] = stages if len(stages) > 1 else None
    values["parameters"] = plan.get("parameters", {}).get("total")
    return values


def _experts(settings: Settings, job: Job, metrics: Mapping[str, float]) -> list[ExpertWorth]:
    specs = [job.spec["expert"]] if "expert" in job.spec else job.spec["experts"]
    return [
        ExpertWorth(
            expert=k,
            arch=expert.get("arch") or _saved_arch(settings, job, k),
            source=_source(expert.get("from")),
            before=metrics.get(f"test/accuracy_expert_{k}_before"),
            after=metrics.get(f"test/accuracy_expert_{k}"),
            contribution=metrics.get(f"test/contribution_expert_{k}"),
            without=metrics.get(f"test/accuracy_without_expert_{k}"),
            shapley=metrics.get(f"test/shapley_expert_{k}"),
        )
        for k, expert in enumerate(specs)
    ]


def _saved_arch(settings: Settings, job: Job, k: int) -> str | None:
    """The architecture that a component decided, from the manifest of the expert that this job saved."""
    try:
        manifest = read_manifest(RunDir(settings.runs_dir / job.id).components / f"expert_{k}.json")
    except (DamagedFileError, OSError):
        return None
    arch = manifest["config"].get("arch")
    return None if arch is None else str(arch)


def _source(reference: Mapping[str, Any] | None) -> str | None:
    if not reference:
        return None
    return f"{reference['job']} {reference['component']}" if reference.get("job") else reference.get("component")
