"""The metrics of an evaluation, computed from sums over all images.

P paths (fused, experts, ensembles), K experts, C classes, N calibration bins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from core.losses.ambiguity import Decomposition
from core.train.shapley import SubsetAccuracies

ECE_BINS = 15
_KNOWS_SOME = "an expert's head knows only some of the classes"


@dataclass(frozen=True)
class Evaluation:
    """Metrics by key (without `val/` or `test/`), accuracy by path and class, and why a metric is absent.

    `accuracy_<path>` and `loss_<path>` (mean cross-entropy) are of the fused path, every expert and both ensembles:
    `ensemble_logits` averages the experts' logits, `ensemble_probabilities` their probabilities, which is also defined
    for experts that know only some of the classes. `accuracy_ensemble` is another name for `accuracy_ensemble_logits`.
    `loss_global`, `nll` and `ece` (expected calibration error over 15 bins, arXiv:1706.04599, eq. 3) are of the fused
    path, or of an expert alone. `accuracy_oracle` is the fraction of images that at least one expert classifies
    correctly, `disagreement` the fraction of images on which two experts differ, averaged over pairs. The matrix
    `pairwise_disagreement` has that fraction for every pair; it is empty where the mean is absent. `wins_by_class`
    (K, C) counts the images on which each expert has the smallest cross-entropy, of equal ones the first; it is empty
    for one expert and where an expert's outputs are not finite. `ensemble_loss` (of the averaged logits) is
    `average_loss` (the experts' mean) minus `ambiguity`; see `core/losses/ambiguity.py`.

    `non_finite` counts, for each path with such outputs, the images whose logits are not finite; metrics that depend on
    them are absent. The experts, from which the fused path may have them, come first.

    `subsets` has the fused accuracy without some experts, where that was measured.
    """

    num_images: int
    metrics: dict[str, float]
    per_class: dict[str, list[float | None]]
    absent: dict[str, str] = field(default_factory=dict)
    non_finite: dict[str, int] = field(default_factory=dict)
    pairwise_disagreement: list[list[float]] = field(default_factory=list)
    wins_by_class: list[list[int]] = field(default_factory=list)
    subsets: SubsetAccuracies | None = None


def evaluation_of(
    sums: Mapping[str, Tensor], count: int, paths: Sequence[str], *, num_experts: int, fused: bool, partial: bool
) -> Evaluation:
    """The metrics from the sums of a Tally over `count` images. `partial`: an expert knows only some classes."""
    num_paths = len(paths)
    correct_PC = sums["correct"].reshape(num_paths, -1)
    accuracy_P = correct_PC.sum(dim=1) / count
    gap_PN = (sums["confidence"] - sums["hits"]).reshape(num_paths, ECE_BINS).abs()
    metrics = {f"accuracy_{path}": accuracy_P[p].item() for p, path in enumerate(paths)}
    metrics |= {f"loss_{path}": loss for path, loss in zip(paths, (sums["nll"] / count).tolist(), strict=True)}
    nll = (sums["nll"][0] / count).item()
    metrics |= {"loss_global": nll, "nll": nll, "ece": (gap_PN[0].sum() / count).item()}
    if num_experts > 1:
        pairs = num_experts * (num_experts - 1)
        metrics["accuracy_oracle"] = (sums["oracle"] / count).item()
        metrics["disagreement"] = (sums["differ"].sum() / (count * pairs)).item()
    if "ensemble_logits" in paths:
        metrics["accuracy_ensemble"] = metrics["accuracy_ensemble_logits"]
        metrics |= {key: (sums[key] / count).item() for key in Decomposition._fields}
    counts = dict(zip(paths[: int(fused) + num_experts], sums["non_finite"].int().tolist(), strict=True))
    non_finite = {path: counts[path] for path in sorted(counts, key="fused".__eq__) if counts[path]}
    absent = _undefined(num_experts, fused=fused, partial=partial)
    absent |= _not_finite(non_finite, count, paths, metrics)
    per_class: dict[str, list[float | None]] = {
        path: [
            hits / images if images else None
            for hits, images in zip(correct_PC[p].tolist(), sums["images"].tolist(), strict=True)
        ]
        for p, path in enumerate(paths)
        if f"accuracy_{path}" not in absent
    }
    # The probability of a class that an expert does not know is zero, so its loss over all classes is infinite.
    metrics = {key: value for key, value in metrics.items() if key not in absent and math.isfinite(value)}
    differ_KK = (sums["differ"] / count).reshape(num_experts, num_experts)
    is_comparable = "disagreement" in metrics
    return Evaluation(
        count,
        metrics,
        per_class,
        absent,
        non_finite,
        differ_KK.tolist() if is_comparable else [],
        sums["wins"].reshape(num_experts, -1).long().tolist() if is_comparable else [],
    )


def _undefined(num_experts: int, *, fused: bool, partial: bool) -> dict[str, str]:
    if not partial:
        return {}
    keys = ["accuracy_ensemble", "accuracy_ensemble_logits"] if num_experts > 1 else []
    if not fused:
        keys += ["nll", "ece", "loss_global"]
    return dict.fromkeys(keys, _KNOWS_SOME)


def _not_finite(
    non_finite: Mapping[str, int], count: int, paths: Sequence[str], metrics: Mapping[str, float]
) -> dict[str, str]:
    """What depends on outputs that are not finite, and on whose."""
    absent: dict[str, str] = {}
    for path, images in non_finite.items():
        reason = f"{path} has outputs that are not finite for {images:,} of {count:,} images"
        keys = [f"accuracy_{path}", f"loss_{path}"]
        if path == paths[0]:
            keys += ["loss_global", "nll", "ece"]
        if path != "fused":
            keys += ["accuracy_oracle", "disagreement", *Decomposition._fields]
            keys += [key for key in metrics if "_ensemble" in key]
        absent |= {key: reason for key in keys if key in metrics and key not in absent}
    return absent
