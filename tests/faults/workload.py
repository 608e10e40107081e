"""The jobs that clients submit, and what each leaves if nothing disturbs it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from sqlmodel import select

from app.cli.client import TERMINAL_STATES, Api
from app.db import reading
from app.models import Component, Job, Series
from app.results.metrics import store
from tests.faults.stack import Stack
from tests.parts import wait_until

SPLIT = {"regime": "iid", "num_shards": 4, "holdout": 0.1, "seed": 1}
JOB_LIMIT_S = 180.0


def _expert(**training: Any) -> dict[str, Any]:
    return {
        "kind": "expert",
        "expert": {"arch": "convnet_small"},
        "dataset": {"name": "digits", "split": SPLIT},
        "training": {"epochs": 1, "batch_size": 64, **training},
        "resources": {"cpus": 1},
        "checkpoint": {"every_steps": 3},
    }


# By name. `short` takes little more than the start of its process; `long` is there to be disturbed while it trains.
SPECS: dict[str, dict[str, Any]] = {
    "short": _expert(),
    "long": _expert(epochs=5, batch_size=32),
    "diverging": _expert(epochs=10, components={"experts": {"lr": 1e9, "clip_norm": 0}}),
}
# Those that cannot succeed, with the reason that they must give.
FAILURES = {"diverging": "loss_not_finite"}


@dataclass(frozen=True)
class Result:
    """What a succeeded job has left: component bits, the steps of every metric, and its measured values on test."""

    digests: dict[str, str]
    steps: dict[str, tuple[int, ...]]
    measured: dict[str, float]


def result_of(engine: Engine, job_id: str) -> Result:
    """What a job has left in the database."""
    with reading(engine) as session:
        components = session.exec(select(Component).where(Component.job_id == job_id)).all()
        digests = {component.name: component.files["safetensors"]["sha256"] for component in components}
        steps: dict[str, list[int]] = {}
        for key, numbers, _, _ in store.csv_rows(session, job_id):
            # What a metric says about speed depends on the moment, and so does how often it is said.
            if not key.startswith("system/"):
                steps.setdefault(key, []).extend(int(step) for step in numbers)
        summaries = store.latest(session, job_id)
    measured = {key: value.value for key, value in summaries.items() if key.startswith("test/") and value.value}
    return Result(digests, {key: tuple(numbers) for key, numbers in steps.items()}, measured)


def undisturbed(stack: Stack) -> dict[str, Result]:
    """Runs every job that succeeds once, with nothing else; gives its result by its name."""
    results = {}
    with contextlib.closing(Api(stack.settings)) as api:
        for name, spec in SPECS.items():
            if name in FAILURES:
                continue
            job_id = str(api.post("/jobs", spec)["id"])

            def has_ended(job_id: str = job_id) -> bool:
                return state_of(stack.engine, job_id) in TERMINAL_STATES

            wait_until(has_ended, f"the end of the undisturbed {name} job", JOB_LIMIT_S)
            assert state_of(stack.engine, job_id) == "succeeded"
            results[name] = result_of(stack.engine, job_id)
    return results


def state_of(engine: Engine, job_id: str) -> str | None:
    """The state of a job; None if there is none."""
    with reading(engine) as session:
        job = session.get(Job, job_id)
        return job.state if job else None


def metric_keys(engine: Engine, job_id: str) -> list[str]:
    """The metrics of a job."""
    with reading(engine) as session:
        return list(session.exec(select(Series.key).where(Series.job_id == job_id)))
