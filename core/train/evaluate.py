"""Measures a model with one forward pass per batch.

P paths (fused, experts, ensembles), K experts, B batch size, C classes, N calibration bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from core.losses.ambiguity import Decomposition, decompose
from core.model.model import MultiExpertModel, Outputs
from core.runtime import Runtime
from core.train.evaluation_metrics import ECE_BINS, Evaluation, evaluation_of


class Tally:
    """Sums over batches on the device; only `result` synchronises.

    `classes` gives for every expert the dataset's class of each of its logits. An expert that knows only some classes
    is scored over all of them, giving the others no probability. `numbers` are those of the experts in the names of
    paths, by default 0 to K - 1.
    """

    def __init__(
        self,
        num_experts: int,
        num_classes: int,
        *,
        fused: bool,
        classes: Sequence[Sequence[int]] | None = None,
        numbers: Sequence[int] | None = None,
        device: torch.device | None = None,
    ) -> None:
        self._num_classes = num_classes
        self._classes = [None if not own or len(own) == num_classes else tuple(own) for own in classes or ()]
        self._partial = any(own is not None for own in self._classes)
        self._num_experts = num_experts
        self._num_fused = int(fused)
        self._paths = ["fused"] * fused + [f"expert_{k}" for k in numbers or range(num_experts)]
        if num_experts > 1:
            # A mean of logits is not defined over classes that an expert does not know.
            self._paths += [] if self._partial else ["ensemble_logits"]
            self._paths.append("ensemble_probabilities")
        self._count = 0
        num_paths = len(self._paths)
        sizes = {
            "nll": (num_paths,),
            "correct": (num_paths, num_classes),
            "images": (num_classes,),
            "confidence": (num_paths, ECE_BINS),
            "hits": (num_paths, ECE_BINS),
            "oracle": (),
            "differ": (num_experts, num_experts),
            "wins": (num_experts, num_classes),
            "non_finite": (self._num_fused + num_experts,),
        }
        if "ensemble_logits" in self._paths:
            sizes |= dict.fromkeys(Decomposition._fields, ())
        # A process without images must still take part in the sum over all processes.
        self._sums = {key: torch.zeros(size, dtype=torch.double, device=device) for key, size in sizes.items()}

    def add(self, outputs: Outputs, labels_B: Tensor) -> None:
        """Adds one batch."""
        log_probs_PBC = self._log_probabilities(outputs)
        confidence_PB, prediction_PB = log_probs_PBC.max(dim=-1)
        confidence_PB = confidence_PB.exp()
        num_paths = len(self._paths)
        labels_PB = labels_B.expand(num_paths, -1)
        correct_PB = (prediction_PB == labels_B).double()
        experts = slice(self._num_fused, self._num_fused + self._num_experts)
        expert_KB = prediction_PB[experts]
        bin_PB = (confidence_PB * ECE_BINS).ceil().long().sub(1).clamp(0, ECE_BINS - 1)
        zeros_PC = correct_PB.new_zeros(num_paths, self._num_classes)
        zeros_PN = correct_PB.new_zeros(num_paths, ECE_BINS)
        nll_PB = -log_probs_PBC.gather(-1, labels_PB.unsqueeze(-1)).squeeze(-1)
        smallest_B, winner_B = nll_PB[experts].min(dim=0)
        # Nobody wins an image of a class that no expert knows.
        won_B = torch.isfinite(smallest_B).double()
        zeros_KC = correct_PB.new_zeros(self._num_experts, self._num_classes)
        self._count += len(labels_B)
        self._accumulate(
            nll=nll_PB.double().sum(dim=1),
            correct=zeros_PC.scatter_add(1, labels_PB, correct_PB),
            images=zeros_PC[0].scatter_add(0, labels_B, torch.ones_like(labels_B, dtype=torch.double)),
            confidence=zeros_PN.scatter_add(1, bin_PB, confidence_PB.double()),
            hits=zeros_PN.scatter_add(1, bin_PB, correct_PB),
            oracle=correct_PB[experts].amax(dim=0).sum(),
            wins=zeros_KC.index_put((winner_B, labels_B), won_B, accumulate=True),
            differ=(expert_KB.unsqueeze(0) != expert_KB.unsqueeze(1)).sum(dim=-1).double(),
            non_finite=_count_non_finite(outputs),
        )
        if "ensemble_logits" in self._paths:
            self._accumulate(
                **{key: of_B.sum() for key, of_B in decompose(outputs.experts, labels_B)._asdict().items()}
            )

    def _log_probabilities(self, outputs: Outputs) -> Tensor:
        """Of every path (P, B, C)."""
        experts = [self._widen(k, logits.float()) for k, logits in enumerate(outputs.experts)]
        logits = ([] if outputs.fused is None else [outputs.fused.float()]) + experts
        if "ensemble_logits" in self._paths:
            logits.append(torch.stack(experts).mean(dim=0))
        log_probs_PBC = F.log_softmax(torch.stack(logits), dim=-1)
        if "ensemble_probabilities" not in self._paths:
            return log_probs_PBC
        expert_KBC = log_probs_PBC[self._num_fused : self._num_fused + self._num_experts]
        mean_BC = expert_KBC.logsumexp(dim=0) - math.log(self._num_experts)
        return torch.cat([log_probs_PBC, mean_BC.unsqueeze(0)])

    def _widen(self, k: int, logits_BC: Tensor) -> Tensor:
        """An expert's logits over all classes, -inf for those that it does not know."""
        own = self._classes[k] if self._classes else None
        if own is None:
            return logits_BC
        wide_BC = logits_BC.new_full((len(logits_BC), self._num_classes), -torch.inf)
        wide_BC[:, list(own)] = logits_BC
        return wide_BC

    def _accumulate(self, **sums: Tensor) -> None:
        for key, value in sums.items():
            self._sums[key] = self._sums[key] + value

    def result(self, runtime: Runtime) -> Evaluation:
        """The metrics over all images that were added, by every process."""
        count = int(runtime.sum_scalar(self._count))
        keys = sorted(self._sums)
        flat = torch.cat([self._sums[key].reshape(-1) for key in keys])
        flat = runtime.sum(flat).cpu()
        sums = dict(zip(keys, flat.split([self._sums[key].numel() for key in keys]), strict=True))
        return evaluation_of(
            sums, count, self._paths, num_experts=self._num_experts, fused=self._num_fused > 0, partial=self._partial
        )


def _count_non_finite(outputs: Outputs) -> Tensor:
    """Images for which the logits are not finite, of the fused path if there is one and of every expert."""
    paths = ([] if outputs.fused is None else [outputs.fused]) + outputs.experts
    return torch.stack([(~torch.isfinite(logits)).any(dim=-1).sum().double() for logits in paths])


@torch.inference_mode()
def evaluate(
    model: MultiExpertModel,
    batches: Iterable[tuple[Tensor, Tensor]],
    prepare: Callable[[Tensor], Tensor],
    runtime: Runtime,
    *,
    num_classes: int,
    classes: Sequence[Sequence[int]] | None = None,
) -> Evaluation:
    """Measures a model over batches of (uint8 images, labels); `prepare` turns images into its input.

    Leaves the model in the mode in which it was.
    """
    training = model.training
    model.eval()
    numbers = model.present_experts()
    tally = Tally(
        len(numbers),
        num_classes,
        fused=model.head is not None,
        classes=None if classes is None else [classes[k] for k in numbers],
        numbers=numbers,
        device=runtime.device,
    )
    for images, labels in batches:
        with runtime.autocast():
            outputs = model(runtime.format(prepare(images)))
        tally.add(outputs, labels)
    model.train(training)
    return tally.result(runtime)
