"""The end of a training run: the best snapshot is measured once on the test set, and the result is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from torch import Tensor

from core.augment import normalize
from core.components import Component, load_component, read_component_manifest
from core.data.job_data import JobData, test_batches
from core.model.assemble import Sources, build_model, load_weights
from core.model.model import MultiExpertModel
from core.reporting.activity import Activity
from core.reporting.protocol import Reporter
from core.run.durable import DamagedFileError
from core.run.rundir import RunDir
from core.runtime import Runtime
from core.spec import ExpertJob, JobSpec
from core.train.contribution import evaluate_with_contributions
from core.train.data_content import LoadedData
from core.train.evaluate import evaluate
from core.train.fresh_start import component_names
from core.train.identity import IdentityRecord
from core.train.predictions import PredictionRecorder, path_names
from core.train.result import Result, subset_fields, with_test_prefix, write_result
from core.train.winning_shares import WinningShares


def finish(
    spec: JobSpec,
    run_dir: Path,
    model: MultiExpertModel,
    loaded: LoadedData,
    sources: Sources,
    classes: Sequence[Sequence[int]],
    runtime: Runtime,
    reporter: Reporter,
    *,
    step: int,
    epoch: int,
    record: IdentityRecord | None,
    shares: WinningShares | None = None,
) -> Result:
    """Measures the best snapshot and the experts before this job on the test set, and writes the result.

    All metrics are of one consistent snapshot: `complete`, or `expert_0` of an expert job. `record` is the identity of
    the run, in the main process. `shares` are the winning shares of jointly trained experts.
    """
    data = loaded.data
    activity, dataset = Activity(reporter), data.dataset
    folder = RunDir(run_dir).components
    alone = isinstance(spec, ExpertJob)
    best = read_component_manifest(folder, "expert_0" if alone else "complete")
    if best is None:
        raise DamagedFileError(folder, "has lost the best components of this run: train again in another run directory")
    component = load_component(folder / best["files"]["safetensors"]["file"])
    (model.experts[0] if alone else model).load_state_dict(component.state_dict)
    batches = test_batches(dataset, spec, runtime)

    def prepare(images: Tensor) -> Tensor:
        return normalize(images, dataset.mean, dataset.std)

    num_classes = len(dataset.class_names)
    started_from, before_absent = _experts_before(spec, data, sources)
    widths = [0 if alone else num_classes, *(len(own) for own in classes)]
    widths += [len(component.config["classes"]) for component in started_from.values()]
    predictions = PredictionRecorder(spec, data, batches, runtime, activity, logits_per_image=sum(widths))
    own_classes = [None] * (not alone) + list(classes)
    with predictions.record(model, path_names(model), own_classes, prepare):
        after = evaluate_with_contributions(
            model,
            activity.watch("test", batches.epoch(0)),
            prepare,
            runtime,
            num_images=len(dataset.test),
            seed=spec.training.seed,
            num_classes=num_classes,
            classes=classes,
        )
    before, not_finite = _measure_before(
        spec, data, started_from, runtime, activity.watch("test", batches.epoch(0)), prepare, predictions
    )
    if runtime.any_rank(loaded.has_changed()) and record:
        record.note_changed_data(step=step)
    manifests = {name: read_component_manifest(folder, name) for name in component_names(spec)}
    result = Result(
        "succeeded",
        step,
        epoch,
        with_test_prefix(after.metrics) | before,
        after.per_class,
        with_test_prefix(after.absent) | before_absent | not_finite,
        {
            name: {key: manifest[key] for key in ("epoch", "files", "content_sha256")}
            for name, manifest in manifests.items()
            if manifest
        },
        after.pairwise_disagreement,
        identity=record.digest if record else "",
        predictions=predictions.write(RunDir(run_dir)) if runtime.is_main else {},
        winning_share_by_class=shares.by_class if shares else [],
        warnings=[
            *loaded.warnings,
            *(record.warnings if record else []),
            *(shares.warnings() if shares else []),
        ],
        **subset_fields(after),
    )
    if runtime.is_main:
        write_result(result, run_dir)
    reporter.emit("metrics", {"step": step, "values": result.metrics})
    reporter.emit("state", {"state": "succeeded", "step": step})
    return result


def _fields(spec: JobSpec) -> list[str]:
    """The field of every expert, under which `sources` has its component."""
    return ["expert"] if isinstance(spec, ExpertJob) else [f"experts.{k}" for k in range(len(spec.experts))]


def _experts_before(spec: JobSpec, data: JobData, sources: Sources) -> tuple[dict[str, Component], dict[str, str]]:
    """By field, the experts that can be measured as they were before this job; and why the others cannot."""
    num_classes = len(data.dataset.class_names)
    experts: dict[str, Component] = {}
    absent: dict[str, str] = {}
    for k, field in enumerate(_fields(spec)):
        if field not in sources:
            absent[f"test/accuracy_expert_{k}_before"] = "the expert started untrained"
        elif max(sources[field].config["classes"]) >= num_classes:
            absent[f"test/accuracy_expert_{k}_before"] = "the expert was trained on classes that this dataset lacks"
        else:
            experts[field] = sources[field]
    return experts, absent


def _measure_before(
    spec: JobSpec,
    data: JobData,
    experts: dict[str, Component],
    runtime: Runtime,
    batches: Iterable[tuple[Tensor, Tensor]],
    prepare: Callable[[Tensor], Tensor],
    predictions: PredictionRecorder,
) -> tuple[dict[str, float], dict[str, str]]:
    """Test accuracy of these experts before this job, with their own heads; and for which it is absent and why."""
    if not experts:
        return {}, {}
    fields, num_classes = _fields(spec), len(data.dataset.class_names)
    whole = build_model(spec, data.shape)
    load_weights(whole, experts, data.shape, keep_heads=True)
    positions = [fields.index(field) for field in experts]
    model = MultiExpertModel([whole.expert(k) for k in positions]).to(runtime.device)
    classes = [experts[fields[k]].config["classes"] for k in positions]
    with predictions.record(model, [f"expert_{k}_before" for k in positions], classes, prepare):
        measured = evaluate(model, batches, prepare, runtime, num_classes=num_classes, classes=classes)
    metrics: dict[str, float] = {}
    absent: dict[str, str] = {}
    for i, k in enumerate(positions):
        key = f"test/accuracy_expert_{k}_before"
        if f"expert_{i}" in measured.non_finite:
            absent[key] = "the expert had outputs that are not finite"
        else:
            metrics[key] = measured.metrics[f"accuracy_expert_{i}"]
    return metrics, absent
