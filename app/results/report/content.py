"""What a report says about the test images; from the result alone where the predictions are not stored."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.jobs.result import how_to_measure_again
from app.models import Job
from app.results.predictions.schemas import Model
from app.results.predictions.stored import NotStored
from app.results.report.schemas import ControlFigure, Figure

_LABELS = {
    "ensemble_logits": "ensemble, mean of logits",
    "ensemble_probabilities": "ensemble, mean of probabilities",
    "ensemble_product": "ensemble, product of probabilities",
}
# `accuracy_ensemble` is another name for that of the mean of logits.
_ACCURACY = re.compile(r"test/accuracy_(fused|expert_\d+|expert_\d+_before|ensemble_logits|ensemble_probabilities)")
_COMPARE = (
    " It has no controls of its own: `mcn compare EVAL CONTROL` compares it with a control that stored its predictions."
)


@dataclass(frozen=True)
class Content:
    """The part of a report that is measured on test images; `num_images` is null where it is not known."""

    verdict: str
    best_control: str | None
    num_images: int | None
    figures: list[Figure]
    controls: list[ControlFigure]
    notes: list[str]
    absent: dict[str, str] = field(default_factory=dict)


def content_of_result(job: Job, metrics: Mapping[str, float], problem: NotStored) -> Content:
    """The figures that the job itself measured, without intervals; raises the problem if there are none."""
    paths = sorted((match[1] for match in map(_ACCURACY.fullmatch, metrics) if match), key=_order)
    if not paths:
        raise problem
    accuracy = f"{100 * metrics[f'test/accuracy_{paths[0]}']:.1f} %"
    return Content(
        verdict=f"{'Fused accuracy' if paths[0] == 'fused' else 'Accuracy'} {accuracy}, without an interval",
        best_control=None,
        num_images=(job.plan or {}).get("dataset", {}).get("test"),
        figures=[
            Figure(
                label=path_label(path),
                model=_model(job, path, metrics, problem, is_main=path == paths[0]),
                fused_minus=None,
            )
            for path in paths
        ],
        controls=[],
        notes=[_why(job, problem)],
    )


def finite_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a result that are finite numbers."""
    return {
        key: float(value)
        for key, value in result["metrics"].items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def path_label(path: str) -> str:
    """A path in words, such as `expert 0 before`."""
    if path.startswith("expert_"):
        return path.replace("_", " ")
    return _LABELS.get(path, path)


def _why(job: Job, problem: NotStored) -> str:
    has_controls = job.kind == "fusion"
    missing = "intervals and no comparison with controls" if has_controls else "intervals"
    note = (
        f"There are no {missing}, since the predictions on test images {problem.summary} ({problem.reason}): to "
        f"get them, {how_to_measure_again(job)} with evaluation.store_predictions: true."
    )
    return note + (_COMPARE if has_controls else "")


def _model(job: Job, path: str, metrics: Mapping[str, float], problem: NotStored, *, is_main: bool) -> Model:
    """`test/nll` and `test/ece` are of the fused path, or of an expert alone."""
    return Model(
        job=job.id,
        name=job.name,
        path=path,
        accuracy=metrics[f"test/accuracy_{path}"],
        low=None,
        high=None,
        nll=metrics.get("test/nll") if is_main else None,
        ece=metrics.get("test/ece") if is_main else None,
        scaled=None,
        not_scaled=f"its predictions {problem.summary}",
    )


def _order(path: str) -> tuple[int, int, str]:
    """As in a report from predictions: the fused path, experts, experts before, ensembles."""
    number = int(path.split("_")[1]) if path.startswith("expert_") else 0
    groups = ("fused", "expert_", "ensemble_")
    group = next(index for index, prefix in enumerate(groups) if path.startswith(prefix))
    return 2 * group + path.endswith("_before"), number, path
