"""Fields with which a job would fail as soon as it starts, as far as that can be known without its data."""

from __future__ import annotations

from core.spec.catalogue import DATASET_FACTS
from core.spec.expert_options import expert_option_error
from core.spec.fields import InvalidField
from core.spec.jobs import ExpertJob, JobSpec
from core.spec.models import ExpertSpec
from core.spec.split_sizes import split_error

FieldPath = tuple[str | int, ...]


def impossible_fields(spec: JobSpec) -> list[tuple[FieldPath, str]]:
    """The paths of such fields, each with a sentence that says why.

    Data whose size is read only when the job starts, and experts whose architecture a component determines, are not
    checked here: training checks them by the same rules.
    """
    experts: dict[FieldPath, ExpertSpec]
    if isinstance(spec, ExpertJob):
        experts = {("expert",): spec.expert}
    else:
        experts = {("experts", index): expert for index, expert in enumerate(spec.experts)}
    errors = [(path, _option_error(expert)) for path, expert in experts.items()]
    if facts := DATASET_FACTS.get(spec.dataset.name):
        errors.append((("dataset", "split"), split_error(spec.dataset.split, facts.train, facts.classes)))
    return [((*path, error.field), error.message) for path, error in errors if error is not None]


def _option_error(expert: ExpertSpec) -> InvalidField | None:
    if expert.arch is None:
        return None
    if expert.source is not None:
        # The component has weights, and a feature dimension of its own.
        return expert_option_error(expert.arch, dropout=expert.dropout)
    return expert_option_error(
        expert.arch, dropout=expert.dropout, feature_dim=expert.feature_dim, pretrained=expert.pretrained
    )
