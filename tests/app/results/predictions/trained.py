"""Jobs with real predictions, and jobs with predictions that a test chooses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from app.db import transaction
from app.models import Job, State
from core.run.rundir import RunDir
from core.train.result import Result
from tests.app.api import EXPERT, FUSION, Service
from tests.core.jobs import run

Arrays = dict[str, np.ndarray]


def run_dir_of(service: Service, job: str) -> Path:
    return service.settings.runs_dir / job


def succeed(service: Service, job: str) -> None:
    service.transition(job, State.starting, State.running, State.succeeded)


def train(service: Service, spec: dict[str, Any], name: str = "") -> tuple[str, Result]:
    """Trains a job in its run directory, as its worker would."""
    job = service.submit({**FUSION, "name": name})
    result = run(spec, run_dir_of(service, job))
    succeed(service, job)
    return job, result


def with_predictions(
    service: Service,
    name: str,
    splits: dict[str, Arrays],
    *,
    dataset: str = "digits",
    kind: str = "fusion",
    metrics: dict[str, float] | None = None,
) -> str:
    """A job that has succeeded with these arrays; `predicted_..` is added to the logits unless it is given."""
    job = service.submit({**(FUSION if kind == "fusion" else EXPERT), "name": name})
    run = RunDir(run_dir_of(service, job))
    run.path.mkdir(parents=True)
    entries = {split: store_predictions(run, split, dict(arrays), dataset) for split, arrays in splits.items()}
    run.result.write_text(json.dumps({"state": "succeeded", "metrics": metrics or {}, "predictions": entries}))
    succeed(service, job)
    if dataset != "digits":
        set_data(service, job, None, dataset)
    return job


def set_data(service: Service, job_id: str, data_sha256: str | None, dataset: str = "digits") -> None:
    """Records that a job was trained on other data, of which the digest may be unknown."""
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        job.data_sha256 = data_sha256
        job.spec = job.spec | {"dataset": job.spec["dataset"] | {"name": dataset}}


def store_predictions(run: RunDir, split: str, arrays: Arrays, dataset: str) -> dict[str, Any]:
    """Writes the file of a split as a job does, and returns its entry in `result.json`."""
    num_classes = int(arrays["labels"].max()) + 1
    paths = [name.removeprefix("logits_") for name in arrays if name.startswith("logits_")]
    for path in paths:
        best = arrays[f"logits_{path}"].argmax(axis=1)
        predicted = arrays[f"classes_{path}"][best] if f"classes_{path}" in arrays else best
        arrays.setdefault(f"predicted_{path}", predicted)
    arrays.setdefault("ids", np.arange(len(arrays["labels"])))
    file = run.predictions(split)
    file.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {**arrays, "num_classes": np.int64(num_classes)}
    with file.open("wb") as opened:
        np.savez(opened, **content)
    return {
        "file": f"predictions/{file.name}",
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "dataset": dataset,
        "num_images": len(arrays["labels"]),
        "num_classes": num_classes,
        "dtype": "float32",
        "paths": {path: list(arrays[f"logits_{path}"].shape) for path in paths},
    }


def logits_of(predicted: np.ndarray, num_classes: int = 3, strength: float = 2.0) -> np.ndarray:
    """Logits of a model that predicts these classes with the same confidence for every image."""
    return np.asarray(strength * np.eye(num_classes, dtype=np.float32)[predicted])
