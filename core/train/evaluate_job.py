"""Evaluation jobs: named components put together and measured on the test set, nothing trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.augment import normalize
from core.data.job_data import load_job_data, test_batches
from core.model.assemble import build_model, load_sources, load_weights
from core.plan.plan import make_plan
from core.reporting.protocol import NullReporter, Reporter
from core.runtime import start_runtime, stop_runtime
from core.spec import EvaluateJob
from core.train.evaluate import evaluate
from core.train.finish import Result, finished, on_test, read_result, write_result
from core.train.identity import keep_spec


def evaluate_job(
    spec: EvaluateJob, run_dir: Path, *, reporter: Reporter, data_roots: Sequence[Path], device: str | None = None
) -> Result:
    """Measures the components that a specification names; raises ValueError (ComponentError) where they do not fit.

    The mean and deviation by which images are normalised are those that the first expert was trained with.
    """
    runtime = start_runtime(spec, device)
    reporter = reporter if runtime.is_main else NullReporter()
    try:
        sources = load_sources(spec)
        plan = make_plan(spec, data_roots, sources, activations=False)
        if finished(run_dir):
            keep_spec(plan.spec, sources, run_dir)
            return read_result(run_dir)
        phase = load_job_data(plan.spec, data_roots)
        if runtime.is_main:
            keep_spec(plan.spec, sources, run_dir)
        reporter.emit("config", plan.to_json())
        reporter.emit("state", {"state": "running", "step": 0})
        model = build_model(plan.spec, phase.shape)
        load_weights(model, sources, phase.shape, keep_heads=True)
        model.to(runtime.device)
        classes = [sources[f"experts.{k}"].config["classes"] for k in range(len(model.experts))]
        trained_on = sources["experts.0"].config
        measured = evaluate(
            model,
            test_batches(phase.dataset, plan.spec, runtime).epoch(0),
            lambda images: normalize(images, trained_on["mean"], trained_on["std"]),
            runtime,
            num_classes=phase.shape.num_classes,
            classes=classes,
        )
        result = Result(
            "succeeded",
            0,
            0,
            on_test(measured.metrics),
            measured.per_class,
            on_test(measured.absent),
        )
        if runtime.is_main:
            write_result(result, run_dir)
        reporter.emit("metrics", {"step": 0, "values": result.metrics})
        reporter.emit("state", {"state": "succeeded", "step": 0})
        return result
    finally:
        stop_runtime(runtime)
