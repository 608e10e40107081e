"""What every expert is worth to the fused accuracy, from the features of one evaluation.

The contribution of an expert is the fused accuracy minus the one that remains if its features come from other images:
they are permuted over the images, which keeps their distribution and removes what they say about the image. The mean is
over three permutations. What the fused path reaches without experts is measured beside it (`core/train/subsets.py`).
The backbones run once, in the evaluation itself.

K experts, N images, D_k feature dimension of expert k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from core.model.model import MultiExpertModel
from core.runtime import Runtime
from core.train.evaluate import evaluate
from core.train.evaluation_metrics import Evaluation
from core.train.feature_recorder import MAX_FEATURE_BYTES, Batches, FeatureRecorder
from core.train.subsets import MAX_EXPERTS, subset_accuracies

NUM_PERMUTATIONS = 3
_BATCH = 1024


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
    """Measures a model as `evaluate` does, and what every expert is worth besides.

    Adds `contribution_expert_<k>`, `accuracy_without_expert_<k>` and `shapley_expert_<k>`, and the accuracy of every
    subset of the experts. The permutations are derived from `seed`; no generator of PyTorch is touched. Without a
    fusion module nothing is added. Where the features do not fit into memory, or the fused accuracy is absent, these
    are absent too.
    """
    if model.fusion is None:
        return evaluate(model, batches, prepare, runtime, num_classes=num_classes, classes=classes)
    present = model.present_experts()
    experts = range(len(model.experts))
    names = ("contribution_expert", "accuracy_without_expert", "shapley_expert")
    keys = [f"{name}_{k}" for name in names for k in experts]
    if len(present) < len(experts):
        measured = evaluate(model, batches, prepare, runtime, num_classes=num_classes, classes=classes)
        partial = f"this is a partial model, with only {len(present)} of its {len(experts)} experts"
        return replace(measured, absent=measured.absent | dict.fromkeys(keys, partial))
    size = 4 * num_images * sum(model.feature_dims())
    recorder = FeatureRecorder(model) if size <= MAX_FEATURE_BYTES else None
    recorded = batches if recorder is None else recorder.watch(batches)
    measured = evaluate(model, recorded, prepare, runtime, num_classes=num_classes, classes=classes)
    why = measured.absent.get("accuracy_fused")
    if recorder is None:
        why = f"the features of {num_images:,} images take {size / 2**30:.1f} GiB: too much to keep them in memory"
    if recorder is None or why is not None:
        return replace(measured, absent=measured.absent | dict.fromkeys(keys, why or ""))
    fused = measured.metrics["accuracy_fused"]
    features_KND, labels_N = recorder.gathered(runtime)
    permuted = _accuracies_permuted(model, features_KND, labels_N, runtime, seed)
    subsets = subset_accuracies(model, features_KND, labels_N, runtime, fused=fused)
    metrics = {f"contribution_expert_{k}": fused - permuted[k] for k in experts}
    metrics |= {f"accuracy_without_expert_{k}": subsets.without[k] for k in experts}
    metrics |= {f"shapley_expert_{k}": value for k, value in enumerate(subsets.shapley)}
    absent = measured.absent
    if not subsets.shapley:
        limit = f"up to {MAX_EXPERTS} experts, and this model has {len(experts)}"
        why = f"it needs the fused accuracy of every subset of the experts, which is measured for {limit}"
        absent = absent | {f"shapley_expert_{k}": why for k in experts}
    return replace(measured, metrics=measured.metrics | metrics, absent=absent, subsets=subsets)


@torch.inference_mode()
def _accuracies_permuted(
    model: MultiExpertModel, features_KND: Sequence[Tensor], labels_N: Tensor, runtime: Runtime, seed: int
) -> list[float]:
    """For every expert, the fused accuracy with its features permuted over the images."""
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
