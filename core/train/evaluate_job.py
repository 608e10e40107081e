"""Evaluate jobs: existing components are assembled and measured on the test set, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from core.augment import normalize
from core.data.job_data import test_batches
from core.model.assemble import build_model, complete_spec, expert_classes, load_sources, load_weights
from core.plan.data_size import count_images
from core.plan.plan import make_plan
from core.plan.precision import with_measured_precision
from core.reporting.activity import Activity
from core.reporting.protocol import NullReporter, Reporter
from core.run.content import ContentCache
from core.run.rundir import RunDir
from core.runtime import start_runtime, stop_runtime
from core.spec import EvaluateJob
from core.train.contribution import evaluate_with_contributions
from core.train.data_content import load_with_content
from core.train.identity import begin_identity, check_result, record_identity
from core.train.predictions import PredictionRecorder, path_names
from core.train.result import Result, has_result, read_result, subset_fields, with_test_prefix, write_result
from core.train.run_identity import with_split_of_run, write_or_check_spec


def evaluate_job(
    spec: EvaluateJob,
    run_dir: Path,
    *,
    reporter: Reporter,
    data_roots: Sequence[Path],
    device: str | None = None,
    content_cache: Path | None = None,
) -> Result:
    """Measures the components that a specification names.

    Images are normalised with mean and deviation of the first expert's training data, and precision `auto` is that of
    the run that trained the components. Raises ValueError (ComponentError) where the components do not fit.
    """
    sources = load_sources(spec)
    complete = with_measured_precision(complete_spec(with_split_of_run(spec, run_dir), sources), sources)
    assert isinstance(complete, EvaluateJob)
    runtime = start_runtime(complete, device)
    reporter = reporter if runtime.is_main else NullReporter()
    activity = Activity(reporter)
    cache, begun = ContentCache(content_cache), None
    try:
        if has_result(run_dir):
            write_or_check_spec(complete, sources, run_dir)
            check_result(complete, run_dir, data_roots, cache, activity)
            return read_result(run_dir)
        loaded = load_with_content(complete, data_roots, cache, reporter, runtime)
        data, content = loaded.data, loaded.content
        plan = make_plan(complete, count_images(data), sources, activations=False)
        if runtime.is_main:
            write_or_check_spec(plan.spec, sources, run_dir)
            begun = begin_identity(plan.spec, sources, run_dir, content, cache)
        classes = expert_classes(plan.spec, sources, data.classes, keep_heads=True)
        model = build_model(plan.spec, data.shape)
        load_weights(model, sources, data.shape, keep_heads=True)
        record = record_identity(begun, run_dir, runtime, plan.spec, reporter, model=model)
        reporter.emit("config", plan.to_json())
        reporter.emit("state", {"state": "running", "step": 0})
        model.to(runtime.device)
        first = sources["experts.0"].config

        def prepare(images: Tensor) -> Tensor:
            return normalize(images, first["mean"], first["std"])

        batches, num_classes = test_batches(data.dataset, plan.spec, runtime), data.shape.num_classes
        present = [classes[k] for k in model.present_experts()]
        width = num_classes + sum(len(own) for own in present)
        predictions = PredictionRecorder(plan.spec, data, batches, runtime, activity, logits_per_image=width)
        with predictions.record(model, path_names(model), [None, *present], prepare):
            measured = evaluate_with_contributions(
                model,
                activity.watch("test", batches.epoch(0)),
                prepare,
                runtime,
                num_images=len(data.dataset.test),
                seed=plan.spec.training.seed,
                num_classes=num_classes,
                classes=classes,
            )
        if runtime.any_rank(loaded.has_changed()) and record:
            record.note_changed_data(step=0)
        result = Result(
            "succeeded",
            0,
            0,
            with_test_prefix(measured.metrics),
            measured.per_class,
            with_test_prefix(measured.absent),
            pairwise_disagreement=measured.pairwise_disagreement,
            identity=record.digest if record else "",
            warnings=[*loaded.warnings, *(record.warnings if record else [])],
            predictions=predictions.write(RunDir(run_dir)) if runtime.is_main else {},
            **subset_fields(measured),
        )
        if runtime.is_main:
            write_result(result, run_dir)
        reporter.emit("metrics", {"step": 0, "values": result.metrics})
        reporter.emit("state", {"state": "succeeded", "step": 0})
        return result
    finally:
        stop_runtime(runtime)
