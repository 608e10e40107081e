"""A fusion job with predictions and trained controls, as large as one of CIFAR-100, whose report can be read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from sqlalchemy import Engine

from app.auth.principals import Principal
from app.db import transaction
from app.jobs import service
from app.jobs.control_queries import insert_controls
from app.jobs.validation import parse_job
from app.models import Job, State
from app.settings import Settings
from core.run.rundir import RunDir
from tests.app.results.predictions.trained import Arrays, store_predictions
from tests.e2e.running import expert, fusion

NUM_EXPERTS, NUM_CLASSES = 4, 100
NUM_IMAGES = {"val": 5_000, "test": 10_000}
# A control of every kind that is trained: a single network for every expert, and frozen experts.
ROLES = (*(f"single_{k}" for k in range(NUM_EXPERTS)), "frozen")
NUM_JOBS = 1 + len(ROLES)
# How far the logit of the label is above the others, on average.
_STRENGTH = {"fused": 4.0, "single": 3.5, "frozen": 3.8, "expert": 3.0, "before": 2.0}


def job_with_report(engine: Engine, settings: Settings, admin: Principal) -> str:
    """Creates the job, its controls, and the files of all of them."""
    before = [f"expert_{k}_before" for k in range(NUM_EXPERTS)]
    paths = ["fused", *(f"expert_{k}" for k in range(NUM_EXPERTS)), *before]
    job_id = _succeeded(engine, settings, admin, fusion() | {"num_experts": NUM_EXPERTS}, "reported", paths)
    rows = []
    for position, role in enumerate(ROLES):
        is_fusion = role == "frozen"
        spec = fusion(seed=position) if is_fusion else expert(seed=position)
        path = "fused" if is_fusion else "expert_0"
        other = _succeeded(engine, settings, admin, spec, role, [path], strength=role.partition("_")[0])
        row = {"job_id": job_id, "role": role, "position": position, "control_job_id": other}
        rows.append(row | {"reused": False, "absent": None})
    with transaction(engine) as session:
        insert_controls(session, rows)
    return job_id


def _succeeded(
    engine: Engine,
    settings: Settings,
    admin: Principal,
    spec: dict[str, Any],
    name: str,
    paths: list[str],
    strength: str | None = None,
) -> str:
    """A job that has succeeded with stored predictions of these paths."""
    with transaction(engine) as session:
        job_id = service.submit(session, settings, admin, parse_job(settings, spec | {"name": name}))[0].id
        job = session.get(Job, job_id)
        assert job is not None
        job.state, job.attempt = State.succeeded, 1
    run = RunDir(settings.runs_dir / job_id)
    entries = {
        split: store_predictions(run, split, _arrays(split, name, paths, strength), "digits") for split in NUM_IMAGES
    }
    metrics = {f"test/shapley_expert_{k}": 0.1 for k in range(NUM_EXPERTS)} if len(paths) > 1 else {}
    run.result.write_text(json.dumps({"state": "succeeded", "metrics": metrics, "predictions": entries}))
    return job_id


def _arrays(split: str, name: str, paths: list[str], strength: str | None) -> Arrays:
    """Logits of each path, which are normal but for that of the label; the labels are those of the split."""
    count = NUM_IMAGES[split]
    labels = np.random.default_rng(count).integers(0, NUM_CLASSES, count)
    labels[:NUM_CLASSES] = np.arange(NUM_CLASSES)
    random = np.random.default_rng([count, *name.encode()])
    arrays: Arrays = {"labels": labels}
    for path in paths:
        logits = random.normal(size=(count, NUM_CLASSES)).astype(np.float32)
        kind = strength or ("before" if path.endswith("_before") else path.partition("_")[0])
        logits[np.arange(count), labels] += _STRENGTH[kind]
        arrays[f"logits_{path}"] = logits
    return arrays
