"""Weights & Biases as a second reporter. Whatever goes wrong with it is one warning and never stops training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.reporting.protocol import EventKind
from core.spec import JobSpec


class WandbReporter:
    """Sends the metrics and the plan of a run; `on_failure` gets the one warning.

    Series are drawn against `step`, which is logged beside the values: a run that redoes steps after a crash logs them
    again, and W&B's own step counter would refuse to go back.
    """

    def __init__(self, spec: JobSpec, run_dir: Path, on_failure: Callable[[str], object] = warnings.warn) -> None:
        self._on_failure = on_failure
        self._run: Any = None
        self._guarded(lambda: self._start(spec, run_dir))

    def emit(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        if self._run is None:
            return
        if kind == "metrics":
            values = {**data["values"], "step": data["step"]}
            self._guarded(lambda: self._run.log(values))
        elif kind == "config":
            self._guarded(lambda: self._run.config.update(dict(data), allow_val_change=True))
        elif kind == "component":
            key = f"best/{data['name']}"
            self._guarded(lambda: self._run.summary.update({f"{key}/epoch": data["epoch"], **_scores(key, data)}))

    def close(self) -> None:
        if self._run is not None:
            self._guarded(lambda: self._run.finish())

    def _start(self, spec: JobSpec, run_dir: Path) -> None:
        import wandb

        asked = spec.tracking.wandb
        if asked.mode == "online" and wandb.api.api_key is None:
            raise ValueError("there is no API key: run `wandb login`, or set WANDB_API_KEY")
        run_dir.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            dir=run_dir,
            mode=asked.mode,
            project=asked.project or "mcn-fusion",
            entity=asked.entity,
            name=spec.name or None,
            tags=list(spec.tags) or None,
            id=_run_id(run_dir),
            resume="allow" if asked.mode == "online" else None,
            # The training process is ours to signal and its output ours to keep.
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True, disable_git=True),
        )
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # a tracker's failure of any kind is not the run's
            self._run = None
            self._on_failure(f"W&B is off for the rest of this run: {type(error).__name__}: {error}")


def _scores(key: str, manifest: Mapping[str, Any]) -> dict[str, float]:
    chosen = manifest["selected_by"]
    return {f"{key}/{chosen}": manifest["metrics"][chosen]}


def _run_id(run_dir: Path) -> str:
    """The same W&B run for every attempt in one run directory."""
    file = run_dir / "wandb-id"
    if not file.exists():
        import secrets

        file.write_text(secrets.token_hex(8))
    return file.read_text().strip()
