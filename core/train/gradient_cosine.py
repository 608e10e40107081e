"""The cosine between both paths' gradients at the experts, measured beside a training that sums them.

B batch, K experts, C channels or classes, H height, W width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from core.losses import DualPathLoss
from core.model.model import MultiExpertModel, Outputs
from core.runtime import Runtime
from core.train.gradient_pairs import cosine, products
from core.train.two_losses import COSINE, gradients, individual_loss, shared_parameters

# Keeps the random numbers of the measurement apart from those of every other use of seed and step.
_STREAM = 14


def measure_cosine(
    model: MultiExpertModel,
    criterion: DualPathLoss,
    images_BCHW: Tensor,
    targets: Tensor,
    runtime: Runtime,
    *,
    seed: int,
    step: int,
    progress: float,
    present_BK: Tensor | None = None,
) -> dict[str, Tensor]:
    """The cosine of one batch by its metric key, from a forward and two backward passes of their own.

    Neither weights nor gradients, normalisation statistics or random states change. Gradients are averaged over all
    processes first. `model` is the module itself, neither compiled nor wrapped: it keeps no graph for two
    passes. `progress` is that of an annealed loss.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = [runtime.device] if runtime.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence([seed, step, runtime.rank, _STREAM]).generate_state(1)[0]))
        with runtime.autocast():
            outputs: Outputs = functional_call(model, buffers, (runtime.format(images_BCHW), present_BK))
        loss = criterion(outputs.fused, outputs.experts, targets, progress=progress)
        shared = shared_parameters(model)
        fused = gradients(loss.global_, shared, retain_graph=True)
        individual = gradients(individual_loss(criterion, loss), shared, retain_graph=False)
    runtime.average([*fused, *individual])
    return {COSINE: cosine(products(fused, individual))}
