"""Reports to Weights & Biases. A failure there gives one warning and never stops training."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.reporting.protocol import EventKind
from core.run.rundir import RunDir
from core.spec import JobSpec

# A server that accepts connections and never answers must not hold up a run. What could not be uploaded stays in the
# run directory for `wandb sync`.
INIT_LIMIT_S = 20.0
FINISH_LIMIT_S = 30.0


class WandbReporter:
    """Sends metrics, plan and components of a run; `on_failure` receives the warning.

    `step` is logged as a metric and used as the x axis: a run that repeats steps after a crash logs them again, and
    W&B's own step counter cannot go back.
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

        elif kind == "alert":
            level = "ERROR" if data["level"] == "error" else "WARN"
            self._guarded(lambda: self._run.alert(title=data["title"], text=data["message"], level=level))

    def close(self) -> None:
        if self._run is not None:
            self._guarded(lambda: self._run.finish())

    def _start(self, spec: JobSpec, run_dir: Path) -> None:
        import wandb

        settings = spec.tracking.wandb
        if settings.mode == "online" and wandb.api.api_key is None:
            raise ValueError("no API key is configured: run `wandb login`, or set WANDB_API_KEY")
        run_dir.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            dir=run_dir,
            mode=settings.mode,
            project=settings.project or "mcn-fusion",
            entity=settings.entity,
            name=spec.name or None,
            tags=list(spec.tags) or None,
            id=_run_id(run_dir),
            resume="allow" if settings.mode == "online" else None,
            # W&B must neither capture the output of the training process nor handle its signals.
            settings=wandb.Settings(
                console="off",
                silent=True,
                x_disable_stats=True,
                disable_git=True,
                init_timeout=INIT_LIMIT_S,
                finish_timeout=FINISH_LIMIT_S,
            ),
        )
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # no failure of a tracker may stop training
            self._run = None
            self._on_failure(f"W&B is off for the rest of this run: {type(error).__name__}: {error}")


def _scores(key: str, manifest: Mapping[str, Any]) -> dict[str, float]:
    metric = manifest["selected_by"]
    return {f"{key}/{metric}": manifest["metrics"][metric]}


def _run_id(run_dir: Path) -> str:
    """One W&B run for all attempts in a run directory."""
    file = RunDir(run_dir).wandb_id
    if not file.exists():
        file.write_text(secrets.token_hex(8))
    return file.read_text().strip()
