"""How much every expert contributes to the fused accuracy, from the features of one evaluation.

The contribution of an expert is the fused accuracy minus the one that remains if its features come from other images:
they are permuted over the images, which keeps their distribution and removes what they say about the image. The mean is
over three permutations. The backbones run once, in the evaluation itself.

K experts, N images, D_k feature dimension of expert k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from core.model.model import MultiExpertModel
from core.runtime import Runtime
from core.train.evaluate import evaluate
from core.train.evaluation_metrics import Evaluation

NUM_PERMUTATIONS = 3
# The features of all images are kept in memory; up to this size.
MAX_FEATURE_BYTES = 2 << 30
_BATCH = 1024

Batches = Iterable[tuple[Tensor, Tensor]]


def evaluate_with_contributions(
    model: MultiExpertModel,
    batches: Batches,
    prepare: Callable[[Tensor], Tensor],
    runtime: Runtime,
    *,
    num_images: int,
    seed: int,
    num_classes: int,
    classes: Sequence[Sequence[int]] | None = None,
) -> Evaluation:
    """Measures a model as `evaluate` does, and `contribution_expert_<k>` of every expert besides.

    The permutations are derived from `seed`; no generator of PyTorch is touched. Without a fusion module nothing is
    added. Where the features do not fit into memory, or the fused accuracy is absent, the contributions are absent too.
    """
    if model.fusion is None:
        return evaluate(model, batches, prepare, runtime, num_classes=num_classes, classes=classes)
    size = 4 * num_images * sum(model.feature_dims())
    recorder = _Recorder(model) if size <= MAX_FEATURE_BYTES else None
    recorded = batches if recorder is None else recorder.watch(batches)
    measured = evaluate(model, recorded, prepare, runtime, num_classes=num_classes, classes=classes)
    keys = [f"contribution_expert_{k}" for k in range(len(model.experts))]
    why = measured.absent.get("accuracy_fused")
    if recorder is None:
        why = f"the features of {num_images:,} images take {size / 2**30:.1f} GiB: too much to keep them in memory"
    if recorder is None or why is not None:
        return replace(measured, absent=measured.absent | dict.fromkeys(keys, why or ""))
    remaining = _accuracies_without(model, recorder, runtime, seed)
    fused = measured.metrics["accuracy_fused"]
    contributions = {key: fused - accuracy for key, accuracy in zip(keys, remaining, strict=True)}
    return replace(measured, metrics=measured.metrics | contributions)


class _Recorder:
    """Keeps the features that enter a model's fusion module, and the labels of their images, on the host."""

    def __init__(self, model: MultiExpertModel) -> None:
        assert model.fusion is not None
        self._fusion = model.fusion
        self._features: list[list[Tensor]] = [[] for _ in model.experts]
        self._labels: list[Tensor] = []

    def watch(self, batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        """The same batches; while they are read, everything that enters the fusion module is kept."""
        handle = self._fusion.register_forward_pre_hook(lambda _module, inputs: self._keep(inputs[0]))
        try:
            for images, labels in batches:
                self._labels.append(labels.cpu())
                yield images, labels
        finally:
            handle.remove()

    def _keep(self, features_KBD: Sequence[Tensor]) -> None:
        for kept, features_BD in zip(self._features, features_KBD, strict=True):
            kept.append(features_BD.cpu())

    def gathered(self, runtime: Runtime) -> tuple[list[Tensor], Tensor]:
        """The features of every expert, each (N, D_k), and the labels (N,), of the images of all processes."""
        return [runtime.gather(kept) for kept in self._features], runtime.gather(self._labels)


@torch.inference_mode()
def _accuracies_without(model: MultiExpertModel, recorder: _Recorder, runtime: Runtime, seed: int) -> list[float]:
    """For every expert, the fused accuracy with its features permuted over the images."""
    features_KND, labels_N = recorder.gathered(runtime)
    count = len(labels_N)
    # Every process takes the same permutations and its own share of the images.
    own = np.arange(count)[runtime.rank :: runtime.world_size]
    training = model.training
    model.eval()
    hits_K = torch.zeros(len(features_KND), dtype=torch.double, device=runtime.device)
    for k, hits in enumerate(hits_K):
        for number in range(NUM_PERMUTATIONS):
            other = np.random.default_rng([seed, k, number]).permutation(count)
            for rows in np.array_split(own, max(1, -(-len(own) // _BATCH))):
                batch = [
                    features_ND[other[rows] if j == k else rows].to(runtime.device)
                    for j, features_ND in enumerate(features_KND)
                ]
                assert model.fusion is not None
                assert model.head is not None
                with runtime.autocast():
                    logits_BC = model.head(model.fusion(batch))
                hits += (logits_BC.argmax(dim=1) == labels_N[rows].to(runtime.device)).sum()
    model.train(training)
    return (runtime.sum(hits_K) / (NUM_PERMUTATIONS * count)).tolist()
