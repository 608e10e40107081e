"""Fields with which a job would fail as soon as it starts, as far as that can be known without its data."""

from __future__ import annotations

from core.spec.catalogue import DATASET_FACTS
from core.spec.jobs import JobSpec
from core.spec.split_sizes import split_error

FieldPath = tuple[str | int, ...]


def impossible_fields(spec: JobSpec) -> list[tuple[FieldPath, str]]:
    """The paths of such fields, each with a sentence that says why.

    Data whose size is read only when the job starts are not checked here: training checks them by the same rule.
    """
    facts = DATASET_FACTS.get(spec.dataset.name)
    wrong_split = facts and split_error(spec.dataset.split, facts.train, facts.classes)
    return [(("dataset", "split", wrong_split.field), wrong_split.message)] if wrong_split else []
