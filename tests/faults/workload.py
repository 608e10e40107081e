"""The jobs that clients submit, and what each leaves if nothing disturbs it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import Engine
from sqlmodel import col, select

from app.cli.client import TERMINAL_STATES, Api
from app.db import reading
from app.models import Attempt, Component, Job
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


_STREAMED = _expert(epochs=2, batch_size=8) | {
    "dataset": {"name": "imagefolder:images", "image_size": 8},
    "resources": {"cpus": 2},
}
# By name. `short` takes little more than the start of its process; `long` is there to be disturbed while it trains, and
# the images of `streamed` are read by a process of its own. `chatty` reports dozens of times a second, and `stubborn`
# ones may be lost as often as chance has it. `tracked`
# reports to a server of W&B that never answers, and `impatient` is ended once it reports nothing for a minute.
SPECS: dict[str, dict[str, Any]] = {
    "short": _expert(),
    "long": _expert(epochs=5, batch_size=32),
    "streamed": _STREAMED,
    "stubborn": _expert() | {"max_attempts": 100},
    "stubborn long": _expert(epochs=5, batch_size=32) | {"max_attempts": 100},
    "chatty": _expert(epochs=200, batch_size=256) | {"checkpoint": {"every_steps": 100}},
    "diverging": _expert(epochs=10, components={"experts": {"lr": 1e9, "clip_norm": 0}}),
}
SPECS["tracked"] = SPECS["short"] | {"tracking": {"wandb": {"mode": "online"}}}
SPECS["impatient"] = SPECS["long"] | {"resources": {"cpus": 1, "hang_timeout_min": 1}}
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
        for key, series_id, chunks in store.chunk_batches(session, job_id):
            # What a metric says about speed depends on the moment, and so does how often it is said.
            if not key.startswith("system/"):
                block = store.read_chunks(session, series_id, chunks)
                steps.setdefault(key, []).extend(int(step) for step in block.steps)
        summaries = store.latest(session, job_id)
    measured = {key: value.value for key, value in summaries.items() if key.startswith("test/") and value.value}
    return Result(digests, {key: tuple(numbers) for key, numbers in steps.items()}, measured)


class Undisturbed(dict[str, Result]):
    """By name, the results of jobs that nothing disturbed: each is run once, before the first round that needs it."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self._stack = stack

    def prepare(self, names: Iterable[str]) -> None:
        """Runs those of these jobs that are still unknown and can succeed."""
        for name in set(names) - self.keys() - FAILURES.keys():
            self[name] = self._run(name)

    def _run(self, name: str) -> Result:
        images = self._stack.settings.roots[0] / "images"
        if name == "streamed" and not images.exists():
            _write_images(images)
        with contextlib.closing(Api(self._stack.settings)) as api:
            # A tracker must not change what a job computes, so what is compared is a job without one.
            job_id = str(api.post("/jobs", SPECS[name] | {"tracking": {}})["id"])
        engine = self._stack.engine
        wait_until(lambda: state_of(engine, job_id) in TERMINAL_STATES, f"the end of the {name} job", JOB_LIMIT_S)
        assert state_of(engine, job_id) == "succeeded"
        return result_of(engine, job_id)


def _write_images(folder: Path) -> None:
    """Two classes that are easy to tell apart."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (folder / name).mkdir(parents=True)
        for index in range(60):
            pixels = np.clip(rng.normal(level, 30, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


def state_of(engine: Engine, job_id: str) -> str | None:
    """The state of a job; None if there is none."""
    with reading(engine) as session:
        job = session.get(Job, job_id)
        return job.state if job else None


def host_of(engine: Engine, job_id: str) -> str | None:
    """The machine of a job's latest attempt; None before the first."""
    with reading(engine) as session:
        query = select(Attempt.host).where(Attempt.job_id == job_id).order_by(col(Attempt.number).desc())
        return session.exec(query).first()
