"""The fused accuracy of every subset of the experts, from recorded features: the backbones do not run again.

K experts, S sets of experts, N images, B images of a batch, C classes. A set is a number whose bit k stands for
expert k.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from core.fusion import FusionModule
from core.fusion.subsets import subset_masks
from core.model.model import MultiExpertModel
from core.run.partial_model import subset_name
from core.runtime import Runtime
from core.train.shapley import SubsetAccuracies, shapley_values

# 2^10 sets take less than a tenth of the time of the backbones (`make bench`, subsets); each expert more doubles that.
MAX_EXPERTS = 10
# Numbers that one batch may keep of all sets together.
_MAX_NUMBERS = {"cpu": 1 << 20, "cuda": 1 << 27}
# Images of which that is computed together which does not grow with the number of sets.
_SHARED_BATCH = 256


def subset_accuracies(
    model: MultiExpertModel, features_KND: Sequence[Tensor], labels_N: Tensor, runtime: Runtime, *, fused: float
) -> SubsetAccuracies:
    """Measures every subset, or all but one expert where there are too many.

    `features_KND` and `labels_N` are those of the images of all processes, each of which measures a share; `fused` is
    the accuracy with all experts, as the evaluation measured it.
    """
    num_experts = len(features_KND)
    everyone = (1 << num_experts) - 1
    all_but_one = [everyone & ~(1 << k) for k in range(num_experts)]
    if num_experts > MAX_EXPERTS:
        measured = _accuracies(model, features_KND, labels_N, runtime, all_but_one)
        return SubsetAccuracies([measured[mask] for mask in all_but_one])
    measured = _accuracies(model, features_KND, labels_N, runtime, None)
    # Other batches may round otherwise: one number for one thing.
    measured[everyone] = fused
    return SubsetAccuracies(
        [measured[mask] for mask in all_but_one],
        {
            subset_name(_experts(mask)): measured[mask]
            for mask in sorted(measured, key=lambda mask: (mask.bit_count(), mask))
        },
        shapley_values([measured[mask] for mask in range(everyone + 1)]),
    )


@torch.inference_mode()
def _accuracies(
    model: MultiExpertModel,
    features_KND: Sequence[Tensor],
    labels_N: Tensor,
    runtime: Runtime,
    masks: Sequence[int] | None,
) -> dict[int, float]:
    """The fused accuracy of the sets `masks`, all of them for None."""
    assert model.fusion is not None
    assert model.head is not None
    count, num_experts = len(labels_N), len(features_KND)
    masks_SK = (
        subset_masks(num_experts, runtime.device) if masks is None else _as_rows(masks, num_experts, runtime.device)
    )
    widths = [
        module.out_features
        for module in (*model.fusion.modules(), *model.head.modules())
        if isinstance(module, nn.Linear)
    ]
    per_image = len(masks_SK) * max(model.fusion.input_dim, *widths)
    batch_size = max(1, min(4096, _MAX_NUMBERS[runtime.device.type] // per_image))
    training = model.training
    model.eval()
    layers = model.fusion.subset_layers(model.head)
    hits_S = torch.zeros(len(masks_SK), dtype=torch.long, device=runtime.device)
    for rows in torch.arange(runtime.rank, count, runtime.world_size).split(max(batch_size, _SHARED_BATCH)):
        batch_KBD = [features_ND[rows].to(runtime.device) for features_ND in features_KND]
        labels = labels_N[rows].to(runtime.device).split(batch_size)
        with runtime.autocast():
            outputs = (
                model.fusion.subset_outputs(batch_KBD, layers, batch_size=batch_size)
                if masks is None
                else _outputs(model.fusion, model.head, batch_KBD, masks_SK, batch_size)
            )
            for logits_SBC, labels_B in zip(outputs, labels, strict=True):
                best_SB, prediction_SB = logits_SBC.max(dim=2)
                # An output that is not finite is no answer.
                hits_S += ((prediction_SB == labels_B) & best_SB.isfinite()).sum(dim=1)
    model.train(training)
    accuracies = (runtime.sum(hits_S.double()) / count).tolist()
    return dict(zip(range(len(accuracies)) if masks is None else masks, accuracies, strict=True))


def _outputs(
    fusion: FusionModule, head: nn.Module, features_KBD: Sequence[Tensor], masks_SK: Tensor, batch_size: int
) -> Iterator[Tensor]:
    """The outputs (S, B, C) of the sets `masks_SK`, for `batch_size` images at a time."""
    for batch_KBD in zip(*(features_BD.split(batch_size) for features_BD in features_KBD), strict=True):
        present = (present_K.expand(len(batch_KBD[0]), -1) for present_K in masks_SK)
        yield torch.stack([head(fusion(batch_KBD, present_BK)) for present_BK in present])


def _as_rows(masks: Sequence[int], num_experts: int, device: torch.device) -> Tensor:
    return torch.tensor([[bool(mask >> k & 1) for k in range(num_experts)] for mask in masks], device=device)


def _experts(mask: int) -> list[int]:
    return [k for k in range(mask.bit_length()) if mask >> k & 1]
