"""Which experts get a new head for the joint phase."""

from __future__ import annotations

from core.model.assemble import Sources, needs_new_head
from core.spec import EvaluateJob, ExpertJob, JobSpec


def experts_with_new_heads(spec: JobSpec, sources: Sources, num_classes: int) -> tuple[int, ...]:
    """Indices of the experts whose own head, for other classes than the dataset's, is replaced by an untrained one.

    Frozen experts keep their heads, since a new one would never learn, and so do those of evaluate jobs. `num_classes`
    is the dataset's.
    """
    if isinstance(spec, ExpertJob | EvaluateJob) or spec.training.components.experts.frozen:
        return ()
    experts = {k: sources.get(f"experts.{k}") for k in range(len(spec.experts))}
    return tuple(k for k, expert in experts.items() if expert and needs_new_head(expert, range(num_classes)))
