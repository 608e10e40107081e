"""Metrics that are logged once an epoch: means over the steps of the epoch, and what validation adds to them.

B batch, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from core.losses.ambiguity import decompose
from core.train.evaluation_metrics import Evaluation


def ambiguity_metrics(logits: Sequence[Tensor], targets: Tensor) -> dict[str, Tensor]:
    """The decomposition of the loss of the ensemble in a training step, as means over the batch.

    `logits` has a tensor (B, C) for each expert, `targets` are class ids (B,) or class probabilities (B, C): under
    MixUp and CutMix both are of the mixed images. Label smoothing is left out, as in validation. Nothing for one
    expert, and for experts that know different classes.
    """
    if len(logits) < 2 or len({logits_BC.shape for logits_BC in logits}) > 1:
        return {}
    return {f"train/{key}": value.mean() for key, value in decompose(logits, targets)._asdict().items()}


def epoch_metrics(means: Mapping[str, float], evaluation: Evaluation) -> dict[str, float]:
    """The values of an epoch that are logged besides those of validation.

    `means` are over the steps of the epoch. `val/collusion` is the ambiguity on training images minus that on
    validation images: learner collusion (arXiv:2301.11323) is diversity that only the training images have, so it is
    positive then.
    """
    values = {key: value for key, value in means.items() if math.isfinite(value)}
    if "train/ambiguity" in values and "ambiguity" in evaluation.metrics:
        values["val/collusion"] = values["train/ambiguity"] - evaluation.metrics["ambiguity"]
    return values
