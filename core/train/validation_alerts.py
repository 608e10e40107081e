"""Watches the validation of every epoch for runs that go wrong without an error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from core.reporting.alerts import Alert
from core.train.evaluation_metrics import Evaluation

# Accuracy is compared with chance after this share of the epochs, and after so many of them.
CHANCE_AFTER, MIN_EPOCHS = 1 / 3, 3
# Fusion does not pay if its accuracy is below that of the best expert in so many epochs in a row. It may catch up late,
# so these are counted from this share of the epochs on.
BELOW_EPOCHS, BELOW_AFTER = 5, 2 / 3
# Standard deviations by which guessing may exceed chance, and how many right guesses make that a fair estimate.
CHANCE_DEVIATIONS, MIN_RIGHT_GUESSES = 2.0, 5


class ValidationAlerts:
    """Raises each of its alerts at most once in a run, also if the run is interrupted: the checkpoint has the state."""

    def __init__(self, *, epochs: int, num_classes: int) -> None:
        self._chance_epoch = max(MIN_EPOCHS, math.ceil(CHANCE_AFTER * epochs))
        self._below_from = math.ceil(BELOW_AFTER * epochs)
        self._num_classes = num_classes
        self._epochs_below = 0

    def update(self, measured: Evaluation, *, epoch: int, step: int) -> list[Alert]:
        """Takes in the validation of an epoch, counted from 1; returns the alerts that it gives rise to."""
        metrics = measured.metrics
        experts = {name: metrics[name] for name in metrics if name.startswith("accuracy_expert_")}
        fused = metrics.get("accuracy_fused")
        best = max(experts, key=lambda name: experts[name], default=None)
        is_below = epoch >= self._below_from and fused is not None and best is not None and fused < experts[best]
        self._epochs_below = self._epochs_below + 1 if is_below else 0
        alerts = []
        if fused is not None and best is not None and self._epochs_below == BELOW_EPOCHS:
            alerts.append(_fusion_does_not_pay(fused, best.removeprefix("accuracy_"), experts[best], step))
        accuracy = fused if fused is not None else metrics.get("accuracy_expert_0")
        if accuracy is not None and epoch == self._chance_epoch and self._is_chance(accuracy, measured.num_images):
            alerts.append(self._at_chance(accuracy, epoch, step))
        return alerts

    def _is_chance(self, accuracy: float, num_images: int) -> bool:
        """Whether guessing may reach an accuracy on so many images; False for too few to tell."""
        chance = 1 / self._num_classes
        if num_images * chance < MIN_RIGHT_GUESSES:
            return False
        return accuracy <= chance + CHANCE_DEVIATIONS * math.sqrt(chance * (1 - chance) / num_images)

    def _at_chance(self, accuracy: float, epoch: int, step: int) -> Alert:
        return Alert(
            "accuracy_at_chance",
            "Validation accuracy is at chance",
            f"after epoch {epoch} the validation accuracy is {100 * accuracy:.1f} %, no better than guessing one of "
            f"{self._num_classes} classes: check the labels, or use another learning rate",
            step=step,
            once=True,
        )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs of the epochs before."""
        return {"epochs_below": self._epochs_below}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues after the epochs of `state`."""
        self._epochs_below = int(state["epochs_below"])


def _fusion_does_not_pay(fused: float, expert: str, accuracy: float, step: int) -> Alert:
    return Alert(
        "fusion_does_not_pay",
        "Fusion does not pay",
        f"in each of the last {BELOW_EPOCHS} epochs the fused validation accuracy was below that of the best expert "
        f"(in the last one {100 * fused:.1f} % and {100 * accuracy:.1f} % of {expert}): use that expert alone, another "
        "fusion type or another lambda_individual",
        step=step,
        once=True,
    )
