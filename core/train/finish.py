"""The end of a run: the best snapshot measured once on the test set, and `result.json`, the witness of success."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from core.augment import normalize
from core.components import load_component, read_component_manifest
from core.data.job_data import JobData, test_batches
from core.model.assemble import Sources, build_model, load_weights
from core.model.model import MultiExpertModel
from core.reporting.protocol import Reporter
from core.run.durable import DamagedFileError, read_json, write_durably
from core.runtime import Runtime
from core.spec import ExpertJob, JobSpec
from core.train.evaluate import evaluate

V = TypeVar("V")


@dataclass(frozen=True)
class Result:
    """How an attempt ended. `metrics` has what was measured, `absent` what was not and why."""

    state: Literal["succeeded", "stopped"]
    step: int
    epoch: int
    metrics: dict[str, float]
    per_class: dict[str, list[float | None]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    components: dict[str, dict[str, Any]] = field(default_factory=dict)


def finished(run_dir: Path) -> bool:
    """Whether a run directory holds the result of a run that succeeded."""
    return (run_dir / "result.json").exists()


def read_result(run_dir: Path) -> Result:
    """The result of a run that succeeded."""
    file = run_dir / "result.json"
    try:
        return Result(**read_json(file))
    except TypeError:
        raise DamagedFileError(file, "is not a result") from None


def write_result(result: Result, run_dir: Path) -> None:
    """Writes the witness of success."""
    text = json.dumps(asdict(result), indent=1)
    write_durably(run_dir / "result.json", lambda file: file.write_text(text))


def on_test(values: Mapping[str, V]) -> dict[str, V]:
    """Measures (or why they are absent) under the keys of the test set; the losses by path are for training alone."""
    return {f"test/{key}": value for key, value in values.items() if not key.startswith("loss_")}


def finish(
    spec: JobSpec,
    run_dir: Path,
    model: MultiExpertModel,
    phase: JobData,
    sources: Sources,
    classes: Sequence[Sequence[int]],
    runtime: Runtime,
    reporter: Reporter,
    *,
    step: int,
    epoch: int,
) -> Result:
    """Measures the best snapshot on test, beside the experts as they came, and writes the result.

    All measures are of one consistent snapshot: `complete`, or `expert_0` where an expert was trained alone.
    """
    dataset = phase.dataset
    num_classes = len(dataset.class_names)
    folder = run_dir / "components"
    alone = isinstance(spec, ExpertJob)
    best = read_component_manifest(folder, "expert_0" if alone else "complete")
    if best is None:
        raise DamagedFileError(folder, "has lost the best components of this run: train it anew in another folder")
    component = load_component(folder / best["files"]["safetensors"]["file"])
    (model.experts[0] if alone else model).load_state_dict(component.state_dict)
    batches = test_batches(dataset, spec, runtime)

    def prepare(images: Any) -> Any:
        return normalize(images, dataset.mean, dataset.std)

    after = evaluate(model, batches.epoch(0), prepare, runtime, num_classes=num_classes, classes=classes)
    metrics, absent = on_test(after.metrics), on_test(after.absent)
    before, untrained = _before(spec, phase, sources, runtime, batches, prepare)
    metrics |= before
    absent |= untrained
    names = (
        ["expert_0"] if alone else [*(f"expert_{k}" for k in range(len(model.experts))), "fusion", "head", "complete"]
    )
    manifests = {name: read_component_manifest(folder, name) for name in names}
    result = Result(
        "succeeded",
        step,
        epoch,
        metrics,
        after.per_class,
        absent,
        {
            name: {"epoch": found["epoch"], "files": found["files"], "content_sha256": found["content_sha256"]}
            for name, found in manifests.items()
            if found
        },
    )
    if runtime.is_main:
        write_result(result, run_dir)
    reporter.emit("metrics", {"step": step, "values": metrics})
    reporter.emit("state", {"state": "succeeded", "step": step})
    return result


def _before(
    spec: JobSpec, phase: JobData, sources: Sources, runtime: Runtime, batches: Any, prepare: Any
) -> tuple[dict[str, float], dict[str, str]]:
    """The accuracy of every expert as it was before this job, with the head it came with."""
    fields = ["expert"] if isinstance(spec, ExpertJob) else [f"experts.{k}" for k in range(len(spec.experts))]
    named = {key: component for key, component in sources.items() if key in fields}
    absent = {
        f"test/accuracy_expert_{k}_before": "the expert started untrained"
        for k, key in enumerate(fields)
        if key not in named
    }
    if not named:
        return {}, absent
    whole = build_model(spec, phase.shape)
    load_weights(whole, named, phase.shape, keep_heads=True)
    positions = [fields.index(key) for key in named]
    model = MultiExpertModel([whole.expert(k) for k in positions]).to(runtime.device)
    classes = [named[fields[k]].config["classes"] for k in positions]
    num_classes = len(phase.dataset.class_names)
    measured = evaluate(model, batches.epoch(0), prepare, runtime, num_classes=num_classes, classes=classes)
    return {
        f"test/accuracy_expert_{k}_before": measured.metrics[f"accuracy_expert_{i}"] for i, k in enumerate(positions)
    }, absent
