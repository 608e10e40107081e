"""The config of every component that a job will save."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.data.job_data import JobData
from core.experts import Expert
from core.model.assemble import Sources
from core.model.model import MultiExpertModel
from core.model.modules import data_config, expert_config, fusion_config, head_config
from core.spec import ExpertJob, JobSpec


def component_configs(
    spec: JobSpec, model: MultiExpertModel, phase: JobData, sources: Sources, classes: Sequence[Sequence[int]]
) -> dict[str, dict[str, Any]]:
    """By component name. `classes` are what each expert's logits stand for; `source` says where one started from."""
    dataset = phase.dataset
    names = [dataset.class_names[index] for index in phase.classes]
    data = data_config(
        dataset.name, channels=dataset.channels, image_size=dataset.image_size, mean=dataset.mean, std=dataset.std
    )
    specs = [spec.expert] if isinstance(spec, ExpertJob) else list(spec.experts)
    fields = ["expert"] if isinstance(spec, ExpertJob) else [f"experts.{k}" for k in range(len(specs))]
    configs: dict[str, dict[str, Any]] = {}
    for k, (field, expert_spec, expert) in enumerate(zip(fields, specs, model.experts, strict=True)):
        assert isinstance(expert, Expert)
        known = [dataset.class_names[index] for index in classes[k]]
        own = expert_config(expert_spec, expert, classes=classes[k], class_names=known, data=data)
        configs[f"expert_{k}"] = own | _source(sources, field)
    if isinstance(spec, ExpertJob):
        return configs
    assert model.fusion is not None
    assert model.head is not None
    experts = list(configs.values())
    dims = [config["feature_dim"] for config in experts]
    configs["fusion"] = fusion_config(spec, model.fusion, dims) | _source(sources, "fusion")
    configs["head"] = head_config(model.head, names) | _source(sources, "head")
    configs["complete"] = {
        "role": "complete",
        "experts": experts,
        "fusion": configs["fusion"],
        "head": configs["head"],
        **data,
    }
    return configs


def _source(sources: Sources, field: str) -> dict[str, Any]:
    component = sources.get(field)
    if component is None:
        return {"source": None}
    return {"source": {"file": component.path.name, "sha256": component.sha256}}
