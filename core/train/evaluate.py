"""Every measure of a model from one forward pass over the data.

P paths (fused, experts, ensemble), K experts, B batch, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.model.model import MultiExpertModel, Outputs
from core.runtime import Runtime

ECE_BINS = 15


@dataclass(frozen=True)
class Evaluation:
    """What was measured: `metrics` by key (without `val/` or `test/`), accuracy by class, what is absent and why.

    `disagreement` is the mean over pairs of experts of the fraction of images on which they differ; `oracle` the
    fraction that at least one expert gets right; `ece` the expected calibration error over 15 bins (arXiv:1706.04599,
    eq. 3). `loss_<path>` is the mean cross-entropy of each path; `loss_global`, `nll` and `ece` are of
    the fused path, or of the expert where it is alone.
    """

    num_images: int
    metrics: dict[str, float]
    per_class: dict[str, list[float | None]]
    absent: dict[str, str] = field(default_factory=dict)


class Tally:
    """Sums over batches, on the device: reading it is the only synchronisation.

    `classes` gives for every expert the data set's class of each of its logits; experts that know only some of the
    classes are scored over all of them, and an ensemble of logits is then not defined.
    """

    def __init__(
        self, num_experts: int, num_classes: int, *, fused: bool, classes: Sequence[Sequence[int]] | None = None
    ):
        self._num_classes = num_classes
        self._classes = [None if not own or len(own) == num_classes else tuple(own) for own in classes or ()]
        self._partial = any(own is not None for own in self._classes)
        self._paths = ["fused"] * fused + [f"expert_{k}" for k in range(num_experts)]
        if num_experts > 1 and not self._partial:
            self._paths.append("ensemble")
        self._first = int(fused)
        self._num_experts = num_experts
        self._count = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, outputs: Outputs, labels_B: Tensor) -> None:
        """Counts one batch."""
        experts = [self._widen(k, logits.float()) for k, logits in enumerate(outputs.experts)]
        logits = ([] if outputs.fused is None else [outputs.fused.float()]) + experts
        if "ensemble" in self._paths:
            logits.append(torch.stack(experts).mean(dim=0))
        logits_PBC = torch.stack(logits)
        log_probs_PBC = F.log_softmax(logits_PBC, dim=-1)
        confidence_PB, prediction_PB = log_probs_PBC.max(dim=-1)
        confidence_PB = confidence_PB.exp()
        correct_PB = (prediction_PB == labels_B).double()
        own = slice(self._first, self._first + self._num_experts)
        true_PB1 = labels_B.expand(len(logits), -1).unsqueeze(-1)
        bin_PB = (confidence_PB * ECE_BINS).ceil().long().sub(1).clamp(0, ECE_BINS - 1)
        expert_KB = prediction_PB[own]
        zeros_PC = correct_PB.new_zeros(len(logits), self._num_classes)
        zeros_PN = correct_PB.new_zeros(len(logits), ECE_BINS)
        labels_PB = labels_B.expand(len(logits), -1)
        self._count += len(labels_B)
        self._accumulate(
            nll=-log_probs_PBC.gather(-1, true_PB1).squeeze(-1).double().sum(dim=1),
            correct=zeros_PC.scatter_add(1, labels_PB, correct_PB),
            images=zeros_PC[0].scatter_add(0, labels_B, torch.ones_like(labels_B, dtype=torch.double)),
            confidence=zeros_PN.scatter_add(1, bin_PB, confidence_PB.double()),
            hits=zeros_PN.scatter_add(1, bin_PB, correct_PB),
            oracle=correct_PB[own].amax(dim=0).sum(),
            differ=(expert_KB.unsqueeze(0) != expert_KB.unsqueeze(1)).sum().double(),
        )

    def _widen(self, k: int, logits_BC: Tensor) -> Tensor:
        own = self._classes[k] if self._classes else None
        if own is None:
            return logits_BC
        wide = logits_BC.new_full((len(logits_BC), self._num_classes), -torch.inf)
        wide[:, list(own)] = logits_BC
        return wide

    def _accumulate(self, **sums: Tensor) -> None:
        for key, value in sums.items():
            self._sums[key] = self._sums[key] + value if key in self._sums else value

    def result(self, runtime: Runtime) -> Evaluation:
        """The measures over all that was added, by every process."""
        count = runtime.sum_scalar(self._count)
        keys = sorted(self._sums)
        flat = torch.cat([self._sums[key].reshape(-1) for key in keys]) if keys else torch.zeros(0)
        flat = runtime.sum(flat).cpu()
        sums = dict(zip(keys, flat.split([self._sums[key].numel() for key in keys]), strict=True))
        paths, num_paths = self._paths, len(self._paths)
        correct_PC = sums["correct"].reshape(num_paths, -1)
        images_C = sums["images"]
        accuracy_P = correct_PC.sum(dim=1) / count
        gap_PN = (sums["confidence"] - sums["hits"]).reshape(num_paths, ECE_BINS).abs()
        metrics = {f"accuracy_{path}": accuracy_P[p].item() for p, path in enumerate(paths)}
        nll = (sums["nll"][0] / count).item()
        metrics |= {f"loss_{path}": loss for path, loss in zip(paths, (sums["nll"] / count).tolist(), strict=True)}
        metrics |= {"loss_global": nll, "nll": nll, "ece": (gap_PN[0].sum() / count).item()}
        absent = {}
        if self._num_experts > 1:
            pairs = self._num_experts * (self._num_experts - 1)
            metrics["accuracy_oracle"] = (sums["oracle"] / count).item()
            metrics["disagreement"] = (sums["differ"] / (count * pairs)).item()
            if self._partial:
                absent["accuracy_ensemble"] = "an expert's head knows only some of the classes"
        for key in ("nll", "ece", "loss_global"):
            if self._first == 0 and self._partial:
                del metrics[key]
                absent[key] = "the expert's head knows only some of the classes"
        # An expert gives a class that it does not know no chance at all: its loss over all classes says nothing.
        metrics = {key: value for key, value in metrics.items() if math.isfinite(value)}
        per_class: dict[str, list[float | None]] = {
            path: [hits / n if n else None for hits, n in zip(correct_PC[p].tolist(), images_C.tolist(), strict=True)]
            for p, path in enumerate(paths)
        }
        return Evaluation(int(count), metrics, per_class, absent)


@torch.inference_mode()
def evaluate(
    model: MultiExpertModel,
    batches: Iterable[tuple[Tensor, Tensor]],
    prepare: Any,
    runtime: Runtime,
    *,
    num_classes: int,
    classes: Sequence[Sequence[int]] | None = None,
) -> Evaluation:
    """Measures a model over batches of (images uint8, labels), `prepare`d into its input; leaves its mode as it was."""
    training = model.training
    model.eval()
    tally = Tally(len(model.experts), num_classes, fused=model.head is not None, classes=classes)
    for images, labels in batches:
        with runtime.autocast():
            outputs = model(runtime.format(prepare(images)))
        tally.add(outputs, labels)
    model.train(training)
    return tally.result(runtime)
