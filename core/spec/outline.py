"""The outline of a job: of its plan, what follows from the specification without torch and without reading data."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from pydantic import BaseModel, Field

from core.spec.catalogue import ARCHITECTURES, DATASET_FACTS
from core.spec.component_choices import Configs, new_heads, with_component_choices
from core.spec.fusion_sizes import degeneracy_warning, expert_dropout_warning, head_count_error
from core.spec.jobs import EvaluateJob, ExpertJob, JobSpec
from core.spec.loss_description import describe_individual_loss, distillation_warning, individual_loss_warning
from core.spec.models import ExpertSpec
from core.spec.parameters import expert_parameters, fusion_parameters, head_parameters
from core.spec.part_sizes import hold_out_warning, part_size
from core.spec.rates import Rate, component_names, resolve_rates
from core.spec.repeated_experts import repeated_experts_warning
from core.spec.stage_settings import resolve_stages


class OutlineData(BaseModel):
    """The dataset, and how many of its images the job trains and validates on; estimated unless `exact`."""

    name: str
    classes: int
    channels: int
    image_size: int
    train: int
    val: int
    exact: bool


class Outline(BaseModel):
    """What a job will build and how long it will train; what is known only when it starts is null, with a note.

    `parameters` counts those of each expert, fusion, head and the total. `adapters` are the experts whose features are
    mapped to the fused dimension `input_dim`. `individual_loss` says in words how the experts' own losses are combined.
    `warnings` are about sizes, data and losses that do not suit the job.
    """

    data: OutlineData | None
    feature_dims: list[int | None]
    input_dim: int | None
    adapters: list[str] | None
    parameters: dict[str, int | None]
    new_expert_heads: list[str]
    learning_rates: dict[str, float | None]
    learning_rates_why: dict[str, str]
    individual_loss: str
    epochs: int | None
    batch_size: int | None
    steps_per_epoch: int | None
    steps: int | None
    stages: list[str] = Field(default=[], description="The stages in words; none for a training without stages.")
    warnings: list[str]
    notes: list[str] = Field(description="What is known only when the job starts.")


def outline(spec: JobSpec, configs: Configs | None = None) -> Outline:
    """Outlines a specification with the configs of the components that it names, as far as they are known."""
    configs = configs or {}
    spec = with_component_choices(spec, configs)
    experts: Sequence[ExpertSpec] = [spec.expert] if isinstance(spec, ExpertJob) else spec.experts
    (data, num_classes), dims = _data(spec), [_feature_dim(expert) for expert in experts]
    input_dim = _input_dim(spec, dims)
    heads = () if data is None else new_heads(spec, configs, data.classes)
    rates = _rates(spec, input_dim, new_expert_heads=bool(heads))
    expert_counts = [_expert_parameters(expert, dims[k], data, num_classes) for k, expert in enumerate(experts)]
    parameters = {f"expert_{k}": count for k, count in enumerate(expert_counts)}
    adapters: list[str] | None = None
    if not isinstance(spec, ExpertJob):
        parameters |= _fused_parameters(spec, dims, input_dim, data)
    if input_dim is not None and None not in dims:
        adapters = [f"expert_{k}" for k, dim in enumerate(dims) if dim != input_dim]
    known = [count for count in parameters.values() if count is not None]
    epochs, batch_size = spec.training.epochs, spec.training.batch_size
    steps_per_epoch = None if data is None or batch_size is None else max(1, data.train // batch_size)
    if isinstance(spec, EvaluateJob):
        steps_per_epoch = epochs = 0
    return Outline(
        data=data,
        feature_dims=dims,
        input_dim=input_dim,
        adapters=adapters,
        parameters=parameters | {"total": sum(known) if len(known) == len(parameters) else None},
        new_expert_heads=[f"expert_{k}" for k in heads],
        learning_rates={name: rate.value if rate else None for name, rate in rates.items()},
        learning_rates_why={
            name: rate.why if rate else "known once the fused dimension is" for name, rate in rates.items()
        },
        individual_loss=describe_individual_loss(spec),
        epochs=epochs,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        steps=None if steps_per_epoch is None or epochs is None else steps_per_epoch * epochs,
        stages=_stages(spec, input_dim, rates, new_expert_heads=bool(heads)),
        warnings=size_warnings(spec, input_dim, complete_fields(configs)),
        notes=_notes(spec, experts, dims, data),
    )


def fusion_heads_error(spec: JobSpec) -> str | None:
    """One sentence if the heads of a specification's TransformerBase cannot split its fused dimension.

    None too where the dimension is known only once the job starts.
    """
    if isinstance(spec, ExpertJob) or spec.fusion.type != "TransformerBase":
        return None
    input_dim = _input_dim(spec, [_feature_dim(expert) for expert in spec.experts])
    return None if input_dim is None else head_count_error(input_dim, spec.fusion.heads)


def _data(spec: JobSpec) -> tuple[OutlineData | None, int]:
    """The dataset, and the number of classes that an expert knows."""
    facts = DATASET_FACTS.get(spec.dataset.name)
    if facts is None:
        return None, 0
    size = part_size(spec, facts.train, facts.classes)
    data = OutlineData(
        name=spec.dataset.name,
        classes=facts.classes,
        channels=facts.channels,
        image_size=facts.image_size,
        train=size.train,
        val=size.val,
        exact=size.exact,
    )
    return data, size.num_classes


def _feature_dim(expert: ExpertSpec) -> int | None:
    info = ARCHITECTURES.get(expert.arch or "")
    return None if info is None else expert.feature_dim or info.feature_dim


def _input_dim(spec: JobSpec, dims: Sequence[int | None]) -> int | None:
    if not isinstance(spec, ExpertJob) and spec.input_dim is not None:
        return spec.input_dim
    known = [dim for dim in dims if dim is not None]
    return max(known) if len(known) == len(dims) else None


def _rates(spec: JobSpec, input_dim: int | None, *, new_expert_heads: bool) -> dict[str, Rate | None]:
    names = component_names(spec)
    policies = {name: getattr(spec.training.components, name) for name in names}
    has_type = isinstance(spec, ExpertJob) or spec.fusion.type is not None
    if all(policy.lr is not None for policy in policies.values()) or (input_dim is not None and has_type):
        if isinstance(spec, ExpertJob) and spec.expert.arch is None and policies["experts"].lr is None:
            return {"experts": None}
        resolved = resolve_rates(spec, input_dim or 0, new_expert_heads=new_expert_heads)
        return {str(name): rate for name, rate in resolved.items()}
    why = "given, or the preset's"
    return {name: None if policy.lr is None else Rate(policy.lr, why) for name, policy in policies.items()}


def _stages(
    spec: JobSpec, input_dim: int | None, rates: Mapping[str, Rate | None], *, new_expert_heads: bool
) -> list[str]:
    if not spec.training.stages or isinstance(spec, EvaluateJob):
        return []
    if None in rates.values():
        return [f"{len(spec.training.stages)} stages; their rates are known when the job starts"]
    settings = resolve_stages(spec, input_dim or 0, new_expert_heads=new_expert_heads)
    return [stage.describe() for stage in settings]


def _expert_parameters(expert: ExpertSpec, dim: int | None, data: OutlineData | None, num_classes: int) -> int | None:
    if expert.arch is None or dim is None or data is None:
        return None
    return expert_parameters(expert.arch, data.channels, num_classes, dim)


def _fused_parameters(
    spec: JobSpec, dims: Sequence[int | None], input_dim: int | None, data: OutlineData | None
) -> dict[str, int | None]:
    assert not isinstance(spec, ExpertJob)
    counts: dict[str, int | None] = {"fusion": None, "head": None}
    known = [dim for dim in dims if dim is not None]
    if input_dim is not None and spec.fusion.type is not None and len(known) == len(dims):
        counts["fusion"] = fusion_parameters(spec.fusion.type, known, input_dim, spec.fusion)
    if input_dim is not None and data is not None:
        counts["head"] = head_parameters(input_dim, data.classes, spec.head)
    return counts


def complete_fields(configs: Configs) -> frozenset[str]:
    """The fields that name a complete model."""
    return frozenset(field for field, config in configs.items() if config.get("role") == "complete")


def size_warnings(spec: JobSpec, input_dim: int | None, complete: Container[str] = ()) -> list[str]:
    """Sentences about sizes, data, losses and experts that do not suit a job; `complete` as `complete_fields`."""
    warnings = [
        hold_out_warning(spec),
        distillation_warning(spec),
        individual_loss_warning(spec),
        repeated_experts_warning(spec, complete),
    ]
    if not isinstance(spec, ExpertJob | EvaluateJob):
        warnings.append(expert_dropout_warning(spec.fusion.expert_dropout, len(spec.experts)))
    if not isinstance(spec, ExpertJob) and spec.fusion.type is not None and input_dim is not None:
        norm = spec.fusion.norm is not False
        warnings.append(degeneracy_warning(spec.fusion.type, input_dim, len(spec.experts), norm=norm))
        if spec.fusion.type == "TransformerBase":
            warnings.append(head_count_error(input_dim, spec.fusion.heads))
    return [warning for warning in warnings if warning]


def _notes(
    spec: JobSpec, experts: Sequence[ExpertSpec], dims: Sequence[int | None], data: OutlineData | None
) -> list[str]:
    notes = []
    if data is None:
        notes.append(f"The size of {spec.dataset.name} is read when the job starts.")
    elif not data.exact:
        notes.append(
            "The images of the shard depend on the labels: the steps, and for dirichlet the classes, are estimates."
        )
    unknown = {expert.arch for expert, dim in zip(experts, dims, strict=True) if dim is None}
    for arch in sorted(name for name in unknown if name):
        notes.append(f"The feature dimension and the parameters of {arch} are detected at start.")
        notes.append(f"Whether timm has a model {arch.removeprefix('timm:')} is checked at start.")
    if None in unknown:
        notes.append("The architecture of an expert is that of its component, which is not known yet.")
    return notes
