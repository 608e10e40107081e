"""The configs of the components that a specification names: as saved, or as the job that will save them plans them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.jobs.queries import ComponentRow
from app.jobs.references import References
from core.spec import ExpertJob, JobSpec, SpecError, parse_stored, resolve
from core.spec.outline import outline


def configs_of(spec: JobSpec, refs: References) -> dict[str, Mapping[str, Any]]:
    """Configs by field. A component whose own job leaves its architecture or type to another one has none yet."""
    configs: dict[str, Mapping[str, Any]] = {}
    for field, ref in resolve(spec).sources().items():
        row = refs.rows[ref]
        config = row.config or _planned(row, ref.component or "", field)
        if config:
            configs[field] = config
    return configs


def _planned(row: ComponentRow, name: str, field: str) -> dict[str, Any]:
    try:
        spec = parse_stored(row.spec)
    except SpecError:
        return {}
    if name == "complete":
        name = "expert_0" if field == "expert" else field.replace("experts.", "expert_")
    if name.startswith("expert_"):
        return _expert(spec, int(name.removeprefix("expert_")))
    if isinstance(spec, ExpertJob):
        return {}
    if name == "head":
        return {} if spec.head.type is None else spec.head.options()
    input_dim = outline(spec).input_dim
    if spec.fusion.type is None or input_dim is None:
        return {}
    return {"type": spec.fusion.type, "input_dim": input_dim, **spec.fusion.options()}


def _expert(spec: JobSpec, index: int) -> dict[str, Any]:
    experts = [spec.expert] if isinstance(spec, ExpertJob) else spec.experts
    if index >= len(experts) or experts[index].arch is None:
        return {}
    return {"arch": experts[index].arch, "options_feature_dim": experts[index].feature_dim}
