"""Metrics that are logged once an epoch: means over the steps of the epoch, and what evaluations add to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from core.losses.ambiguity import Decomposition
from core.train.evaluation_metrics import Evaluation

# What the logits of every expert decide.
_OF_ALL_EXPERTS = ("accuracy_oracle", "disagreement", *Decomposition._fields)


def epoch_metrics(
    means: Mapping[str, float], evaluation: Evaluation, sample: Evaluation | None, *, stage: int | None
) -> dict[str, float]:
    """The values of an epoch that are logged besides those of validation.

    `means` are over the steps of the epoch. `sample` is an evaluation on training images, made like that on validation
    images: same weights, evaluation mode, no augmentation. `val/collusion` is the ambiguity on these minus that on
    validation images: learner collusion (arXiv:2301.11323) is diversity that only the training images have, so it is
    positive then. `stage` counts from 1; None for a training without stages.
    """
    values = {key: value for key, value in means.items() if math.isfinite(value)}
    if sample is not None:
        values |= {f"train/{key}": sample.metrics[key] for key in Decomposition._fields if key in sample.metrics}
    if "train/ambiguity" in values and "ambiguity" in evaluation.metrics:
        values["val/collusion"] = values["train/ambiguity"] - evaluation.metrics["ambiguity"]
    if stage is not None:
        values["train/stage"] = float(stage)
    return values


def without_untrained_heads(evaluation: Evaluation, heads: Sequence[int]) -> Evaluation:
    """An evaluation without what the new, untrained heads of these experts decide."""
    if not heads:
        return evaluation
    reason = f"the new heads of {', '.join(f'expert_{k}' for k in heads)} are not trained before a later stage"
    dropped = {f"{kind}_expert_{k}" for kind in ("accuracy", "loss") for k in heads} | set(_OF_ALL_EXPERTS)
    dropped |= {key for key in evaluation.metrics if "_ensemble" in key}
    return replace(
        evaluation,
        metrics={key: value for key, value in evaluation.metrics.items() if key not in dropped},
        absent=evaluation.absent | dict.fromkeys(sorted(dropped & evaluation.metrics.keys()), reason),
    )
