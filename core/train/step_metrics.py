"""The values of one training step, and the validation metrics that are logged, by metric key."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from core.losses import LossParts
from core.losses.ambiguity import Decomposition
from core.model.model import Outputs
from core.policies import StepReport
from core.spec import GroupName
from core.train.evaluation_metrics import Evaluation

_VALIDATION_METRICS = (
    "loss_global",
    "accuracy_fused",
    "accuracy_ensemble",
    "accuracy_ensemble_logits",
    "accuracy_ensemble_probabilities",
    "accuracy_oracle",
    "disagreement",
    *Decomposition._fields,
)


def values_to_check(loss: LossParts, reports: Mapping[GroupName, StepReport]) -> dict[str, Tensor]:
    """The losses and gradient norms that must be finite."""
    values: dict[str, Tensor] = {"individual": loss.individual, "global": loss.global_}
    return values | {str(name): report.norm for name, report in reports.items()}


def step_metrics(
    loss: LossParts,
    reports: Mapping[GroupName, StepReport],
    outputs: Outputs,
    targets: Tensor,
    *,
    experts_trained: bool,
) -> dict[str, Tensor]:
    """Scalars on the device. `targets` are class ids (B,) or class probabilities (B, C)."""
    values = {"train/loss_total": loss.total}
    if experts_trained:
        values["train/loss_individual"] = loss.individual
    if loss.winning_shares is not None:
        values |= {f"train/winning_share_expert_{k}": share for k, share in enumerate(loss.winning_shares)}
    labels_B = targets if targets.ndim == 1 else targets.argmax(dim=1)
    if outputs.fused is None:
        values["train/accuracy_expert_0"] = (outputs.experts[0].argmax(dim=1) == labels_B).double().mean()
    else:
        values["train/loss_global"] = loss.global_
        if experts_trained:
            values["train/loss_distillation"] = loss.distillation
        values["train/accuracy_fused"] = (outputs.fused.argmax(dim=1) == labels_B).double().mean()
    for name, report in reports.items():
        if report.clipped is not None:
            values |= {f"grad_norm/{name}": report.norm, f"clipped/{name}": report.clipped}
    return values


def validation_metrics(evaluation: Evaluation) -> dict[str, float]:
    """The metrics that are logged after every epoch, with the prefix `val/`."""
    return {
        f"val/{key}": value
        for key, value in evaluation.metrics.items()
        if key in _VALIDATION_METRICS or key.startswith("accuracy_expert_")
    }
