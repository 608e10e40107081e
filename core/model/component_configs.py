"""Configs of all components that a job will save."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.data.job_data import JobData
from core.model.assemble import Sources
from core.model.model import MultiExpertModel
from core.model.modules import data_config, expert_config, fusion_config, head_config
from core.spec import ExpertJob, JobSpec


def component_configs(
    spec: JobSpec, model: MultiExpertModel, data: JobData, sources: Sources, classes: Sequence[Sequence[int]]
) -> dict[str, dict[str, Any]]:
    """Configs by component name.

    `classes` are the dataset's class ids that each expert's logits stand for. `source` in a config names the component
    file that this one was started from, null if it was newly initialised.
    """
    dataset = data.dataset
    own_data = data_config(
        dataset.name, channels=dataset.channels, image_size=dataset.image_size, mean=dataset.mean, std=dataset.std
    )
    experts: list[dict[str, Any]] = []
    for k, expert_spec in enumerate([spec.expert] if isinstance(spec, ExpertJob) else spec.experts):
        names = [dataset.class_names[index] for index in classes[k]]
        config = expert_config(expert_spec, model.expert(k), classes=classes[k], class_names=names, data=own_data)
        experts.append(config | _source(sources, "expert" if isinstance(spec, ExpertJob) else f"experts.{k}"))
    configs = {f"expert_{k}": config for k, config in enumerate(experts)}
    if isinstance(spec, ExpertJob):
        return configs
    assert model.fusion is not None
    assert model.head is not None
    names = [dataset.class_names[index] for index in data.classes]
    fusion = fusion_config(spec, model.fusion, model.feature_dims()) | _source(sources, "fusion")
    head = head_config(spec, model.head, names) | _source(sources, "head")
    complete = {"role": "complete", "experts": experts, "fusion": fusion, "head": head, **own_data}
    return configs | {"fusion": fusion, "head": head, "complete": complete}


def _source(sources: Sources, field: str) -> dict[str, Any]:
    component = sources.get(field)
    if component is None:
        return {"source": None}
    return {"source": {"file": component.path.name, "sha256": component.sha256}}
