"""The precision of evaluate jobs."""

from __future__ import annotations

from core.model.assemble import Sources
from core.spec import EvaluateJob, JobSpec

# The fused path comes first: its components are from the joint run.
_FIELDS = ("fusion", "head", "experts.0")


def with_measured_precision(spec: JobSpec, sources: Sources) -> JobSpec:
    """An evaluate job with precision `auto` uses the precision of the run that its components come from.

    Components of earlier versions do not record their precision; it then stays `auto`.
    """
    if not isinstance(spec, EvaluateJob) or spec.training.precision != "auto":
        return spec
    recorded = (sources[field].config.get("precision") for field in _FIELDS if field in sources)
    precision = next((value for value in recorded if value in ("float32", "bfloat16")), "auto")
    return spec.model_copy(update={"training": spec.training.model_copy(update={"precision": precision})})
