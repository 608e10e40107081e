"""The result of an attempt, and `result.json`, which marks a run as succeeded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from core.losses.ambiguity import Decomposition
from core.run.durable import DamagedFileError, read_json, write_durably
from core.run.rundir import RunDir
from core.train.evaluation_metrics import Evaluation

V = TypeVar("V")


@dataclass(frozen=True)
class Result:
    """How an attempt ended, after how many steps and epochs.

    `metrics` and `per_class` (accuracies by path and class) are those measured on the test set; `absent` has the reason
    of every metric that is not there. `pairwise_disagreement` is the fraction of test images on which two experts
    differ, a row and a column for each expert. `components` are the epoch, files and SHA-256 of each saved component.
    `predictions` has the file of stored logits of `val` and `test`, its SHA-256 and shapes, or why it is `absent`.
    `identity` is the digest of all that decided the result: that of `identity.json`, empty in results of earlier
    versions.
    `winning_share_by_class` (K, C) is, for jointly trained experts, the fraction of each class's validation images on
    which each expert had the smallest cross-entropy after the last epoch that trained them. `warnings` are sentences
    about the run.

    `subsets` has the fused accuracy of every subset of the experts, such as `0,2` or `none`, `leave_one_out` what it
    loses without each expert, and `shapley` the share of each; empty where they were not measured.
    """

    state: Literal["succeeded", "stopped"]
    step: int
    epoch: int
    metrics: dict[str, float]
    per_class: dict[str, list[float | None]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    components: dict[str, dict[str, Any]] = field(default_factory=dict)
    pairwise_disagreement: list[list[float]] = field(default_factory=list)
    identity: str = ""
    predictions: dict[str, dict[str, Any]] = field(default_factory=dict)
    winning_share_by_class: list[list[float | None]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    subsets: dict[str, float] = field(default_factory=dict)
    leave_one_out: list[float] = field(default_factory=list)
    shapley: list[float] = field(default_factory=list)


def has_result(run_dir: Path) -> bool:
    """Whether the run in this directory has succeeded."""
    return RunDir(run_dir).result.exists()


def read_result(run_dir: Path) -> Result:
    """The result of a run that has succeeded; raises DamagedFileError."""
    file = RunDir(run_dir).result
    try:
        return Result(**read_json(file))
    except TypeError:
        raise DamagedFileError(file, "is not a result") from None


def write_result(result: Result, run_dir: Path) -> None:
    """Writes `result.json`, the last file of a run."""
    text = json.dumps(asdict(result), indent=1)
    write_durably(RunDir(run_dir).result, lambda file: file.write_text(text))


def with_test_prefix(values: Mapping[str, V]) -> dict[str, V]:
    """Metrics, or reasons for their absence, under `test/` keys.

    Losses by path, which only select checkpoints, and the decomposition of the ensemble's loss, which is compared
    between training and validation, are left out.
    """
    left_out = Decomposition._fields
    return {
        f"test/{key}": value for key, value in values.items() if not key.startswith("loss_") and key not in left_out
    }


def subset_fields(evaluation: Evaluation) -> dict[str, Any]:
    """The fields of a result that say what experts are worth, by name."""
    subsets = evaluation.subsets
    if subsets is None:
        return {}
    fused = evaluation.metrics["accuracy_fused"]
    losses = [fused - accuracy for accuracy in subsets.without]
    return {"subsets": subsets.accuracies, "leave_one_out": losses, "shapley": subsets.shapley}
