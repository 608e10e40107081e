"""Small real jobs on digits that several tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.reporting.event_log import EventLog, read_events
from core.reporting.protocol import NullReporter
from core.spec import JobSpec, parse_spec
from core.train.fit import fit
from core.train.result import Result

SPLIT = {"regime": "class_shards", "num_shards": 4, "holdout": 0.4, "seed": 42}
DIGITS = {"name": "digits", "split": SPLIT}
# A small share of the data and a small network: a step takes a few milliseconds.
TINY = {"name": "digits", "split": {"regime": "iid", "num_shards": 4, "holdout": 0.1, "seed": 1}}


def expert(shard: int = 0, dataset: dict[str, Any] = DIGITS, **training: Any) -> dict[str, Any]:
    return {
        "kind": "expert",
        "expert": {"arch": "convnet_small", "shard": shard},
        "dataset": dataset,
        "training": {"epochs": 2, "batch_size": 64, **training},
        "resources": {"cpus": 1},
    }


def fusion(
    count: int = 2, dataset: dict[str, Any] = TINY, fusion: dict[str, Any] | None = None, **training: Any
) -> dict[str, Any]:
    return {
        "kind": "fusion",
        "experts": [{"arch": "convnet_small", "feature_dim": 16}],
        "num_experts": count,
        "fusion": fusion or {},
        "dataset": dataset,
        "training": {"epochs": 2, "batch_size": 32, **training},
        "resources": {"cpus": 1},
    }


def run(spec: JobSpec | dict[str, Any], run_dir: Path, **options: Any) -> Result:
    """Trains a job with no reporter."""
    parsed = parse_spec(spec) if isinstance(spec, dict) else spec
    return fit(parsed, run_dir, **{"reporter": NullReporter(), "data_roots": [], **options})


def run_logged(spec: JobSpec | dict[str, Any], run_dir: Path, **options: Any) -> tuple[Result, list[dict[str, Any]]]:
    """Trains a job and gives its events too."""
    log = EventLog(run_dir / "events.jsonl")
    result = run(spec, run_dir, reporter=log, **options)
    log.close()
    return result, read_events(run_dir / "events.jsonl")


def component(run_dir: Path, name: str) -> Path:
    """The well-known file of a component."""
    from core.components import well_known_path

    return run_dir / "components" / f"{well_known_path(name)}.pth"
