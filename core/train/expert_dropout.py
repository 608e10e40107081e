"""Expert dropout: which experts the fused path of a training step goes without.

B batch, K experts.
"""

from __future__ import annotations

from torch import Tensor

from core.fusion.absence import draw_present
from core.runtime import Runtime
from core.spec import ExpertJob, JobSpec


def present_experts(spec: JobSpec, runtime: Runtime, *, step: int, batch: int) -> Tensor | None:
    """Booleans (B, K) on the device for the images of this process; None without expert dropout: all are present.

    A function of (training.seed, step), so that a resumed run draws the same.
    """
    if isinstance(spec, ExpertJob) or not spec.fusion.expert_dropout:
        return None
    present_BK = draw_present(
        spec.fusion.expert_dropout,
        len(spec.experts),
        batch,
        spec.training.seed,
        step,
        rank=runtime.rank,
        world_size=runtime.world_size,
    )
    return present_BK.to(runtime.device, non_blocking=True)
