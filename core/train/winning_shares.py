"""On which images each expert has the smallest loss, by class and epoch, and a warning for experts that hardly win.

K experts, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.reporting.alerts import Alert
from core.spec import IndividualLoss
from core.train.evaluation_metrics import Evaluation

# An expert is dead if its share of validation images is below this fraction of an equal share, 1 / K, ..
DEAD_FRACTION = 0.05
# .. in each of the last so many epochs.
DEAD_EPOCHS = 2
_ADVICE = {
    "wta": "Use type annealed or relaxed, which also train experts that do not win",
    "relaxed": "Raise epsilon (now {epsilon:g}), or use type annealed",
    "annealed": "Start at a higher temperature (now {temperature:g}), or end at a higher final_temperature "
    "(now {final_temperature:g})",
    "confident": "Lower confidence_weight (now {confidence_weight:g}), or use type annealed",
}


class WinningShares:
    """Follows the winning shares of jointly trained experts from one validation to the next.

    An expert wins an image if its cross-entropy is the smallest. Only multiple-choice losses have dead experts:
    otherwise every expert is trained on every image, whether it wins or not.
    """

    def __init__(self, individual: IndividualLoss, num_experts: int) -> None:
        self._individual = individual
        self._epochs_below = [0] * num_experts
        self._shares = [0.0] * num_experts
        self.by_class: list[list[float | None]] = []

    def update(self, measured: Evaluation, step: int) -> list[Alert]:
        """Takes in the validation after a step; returns an alert for each expert that has just become dead."""
        wins_KC = measured.wins_by_class
        self.by_class = shares_by_class(wins_KC)
        total = sum(map(sum, wins_KC))
        if not total:
            return []
        self._shares = [sum(wins_C) / total for wins_C in wins_KC]
        threshold = DEAD_FRACTION / len(self._shares)
        for k, share in enumerate(self._shares):
            self._epochs_below[k] = self._epochs_below[k] + 1 if share < threshold else 0
        return [
            Alert("dead_expert", f"expert_{k} is dead", self._warning(k), subject=f"expert_{k}", step=step)
            for k in self._dead()
            if self._epochs_below[k] == DEAD_EPOCHS
        ]

    def warnings(self) -> list[str]:
        """A sentence for every expert that is dead after the latest epoch."""
        return [self._warning(k) for k in self._dead()]

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs of the epochs before."""
        return {"epochs_below": self._epochs_below, "shares": self._shares, "by_class": self.by_class}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues after the epochs of `state`."""
        self._epochs_below, self._shares = list(state["epochs_below"]), list(state["shares"])
        self.by_class = [list(row) for row in state["by_class"]]

    def _dead(self) -> list[int]:
        if not self._individual.is_multiple_choice:
            return []
        return [k for k, epochs in enumerate(self._epochs_below) if epochs >= DEAD_EPOCHS]

    def _warning(self, k: int) -> str:
        kind, num_experts = self._individual.type or "", len(self._shares)
        advice = _ADVICE[kind].format(**self._individual.model_dump())
        return (
            f"expert_{k} is dead: in each of the last {self._epochs_below[k]} epochs it had the smallest loss on less "
            f"than {100 * DEAD_FRACTION / num_experts:.2g}% of the validation images (in the last one on "
            f"{100 * self._shares[k]:.2g}%; an equal share is {100 / num_experts:.3g}%). The individual loss of type "
            f"{kind} hardly trains such an expert. {advice}"
        )


def shares_by_class(wins_KC: Sequence[Sequence[int]]) -> list[list[float | None]]:
    """Of the images of each class, the fraction that each expert won (K, C); None for a class without images."""
    totals_C = [sum(column) for column in zip(*wins_KC, strict=True)]
    return [[wins / total if total else None for wins, total in zip(row, totals_C, strict=True)] for row in wins_KC]
