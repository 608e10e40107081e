"""Checks the components that a specification references: that they exist or will exist, and that they fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from app.http.errors import InvalidSpec
from app.jobs import queries
from app.jobs.queries import ComponentRow
from app.models import TERMINAL_STATES, State
from core.spec import ComponentRef, ExpertJob, JobSpec
from core.spec.component_choices import part_config


@dataclass(frozen=True)
class References:
    """The jobs whose components a specification references, and those of them that have yet to end.

    `rows` has what is known about each component.
    """

    jobs: tuple[str, ...]
    unfinished: tuple[str, ...]
    rows: Mapping[ComponentRef, ComponentRow]


# What is known about each reference: the row of its job, or a sentence that says why it cannot be used.
ReferenceCache = dict[ComponentRef, ComponentRow | str]


def check(session: Session, spec: JobSpec, cache: ReferenceCache | None = None) -> References:
    """Looks up every component that a specification references; raises InvalidSpec with the fields at fault.

    A `cache` shared by several specifications in one transaction saves repeated queries.
    """
    errors: list[dict[str, Any]] = []
    states: dict[str, str] = {}
    rows: dict[ComponentRef, ComponentRow] = {}
    configs: dict[str, dict[str, Any]] = {}
    num_experts = num_experts_of(spec)
    cache = {} if cache is None else cache
    for field, ref in spec.sources().items():
        if ref not in cache:
            cache[ref] = _look_up(session, ref)
        row = cache[ref]
        error = (
            row if isinstance(row, str) else _role_error(field, ref, row) or _count_error(field, ref, row, num_experts)
        )
        if error:
            errors.append({"loc": _loc(field), "msg": error})
        elif not isinstance(row, str):
            states[row.job] = row.state
            rows[ref] = row
            if row.config is not None:
                configs[field] = dict(part_config(row.config, field))
    errors = errors or _dimension_errors(configs) or executor_errors(session, spec)
    if errors:
        raise InvalidSpec.of(errors)
    unfinished = tuple(job for job, state in states.items() if state not in TERMINAL_STATES)
    return References(tuple(states), unfinished, rows)


def _loc(field: str) -> list[str | int]:
    """Where a field that names a component is in a specification."""
    return [*(int(part) if part.isdigit() else part for part in field.split(".")), "from"]


def num_experts_of(spec: JobSpec) -> int:
    """The number of experts of a job, whether its specification is resolved or not."""
    return 1 if isinstance(spec, ExpertJob) else spec.num_experts or len(spec.experts)


def executor_errors(session: Session, spec: JobSpec) -> list[dict[str, Any]]:
    """An error if the job is for Slurm although no known worker has it."""
    if spec.resources.executor != "slurm" or queries.may_have_slurm(session):
        return []
    msg = "no worker of this service has Slurm: leave it out to train on the service's own machines"
    return [{"loc": ["resources", "executor"], "msg": msg}]


def _look_up(session: Session, ref: ComponentRef) -> ComponentRow | str:
    if ref.path is not None:
        return (
            "the service does not accept file paths: "
            'give {"job": "job_..", "component": ".."} or {"component": "cmp_.."}'
        )
    row = queries.find_component(session, ref)
    if row is None:
        return f"there is no component {ref.component}" if ref.job is None else f"there is no job {ref.job}"
    names = component_names(row.spec, row.kind)
    if ref.job is not None and ref.component not in names:
        return f"{ref.job} has no component {ref.component}: it has {', '.join(names) or 'none'}"
    if row.name is None and row.state in TERMINAL_STATES:
        return f"{ref.job} {_ENDED[State(row.state)]} without saving the component {ref.component}"
    return row


_ENDED = {State.succeeded: "succeeded", State.failed: "failed", State.cancelled: "was cancelled"}


def _role_error(field: str, ref: ComponentRef, row: ComponentRow) -> str | None:
    needed = "expert" if field.startswith("expert") else field
    name = row.name or ref.component or ""
    role = name.partition("_")[0]
    return None if role in (needed, "complete") else f"{name} has the role {role}; this field needs the role {needed}"


def _count_error(field: str, ref: ComponentRef, row: ComponentRow, num_experts: int) -> str | None:
    """An error for a fusion module of another number of experts, and for an expert that a complete model lacks."""
    source_experts = _num_experts_of_source(row)
    if field == "fusion" and source_experts not in (None, num_experts):
        return f"the fusion module of {row.job} is for {source_experts} experts; this job has {num_experts}"
    if "complete" in (row.name, ref.component) and field.startswith("experts.") and source_experts is not None:
        index = int(field.removeprefix("experts."))
        if index >= source_experts:
            return f"the complete model of {row.job} has {source_experts} experts; this field needs expert_{index}"
    return None


def _num_experts_of_source(row: ComponentRow) -> int | None:
    """How many experts the fusion module or the complete model of a job has; None for a job of one expert."""
    config = row.config or {}
    for listed in (config.get("experts"), config.get("feature_dims")):
        if isinstance(listed, list):
            return len(listed)
    return len(row.spec["experts"]) if "experts" in row.spec else None


def component_names(spec: dict[str, Any], kind: str) -> list[str]:
    """The components that a job with this resolved specification saves."""
    if kind == "evaluate":
        return []
    if kind == "expert":
        return ["expert_0"]
    return [*(f"expert_{k}" for k in range(len(spec["experts"]))), "fusion", "head", "complete"]


def _dimension_errors(configs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Errors where the configurations of saved components show that they do not fit together."""
    fusion, head = configs.get("fusion"), configs.get("head")
    errors: list[dict[str, Any]] = []
    experts = {field: config for field, config in configs.items() if field.startswith("experts.")}
    if fusion and "feature_dims" in fusion:
        dims = fusion["feature_dims"]
        for field, config in experts.items():
            k = int(field.removeprefix("experts."))
            if config.get("feature_dim") not in (None, dims[k]):
                msg = f"the fusion module expects feature dimension {dims[k]}; this expert has {config['feature_dim']}"
                errors.append({"loc": _loc(field), "msg": msg})
    if fusion and head and {"input_dim"} <= fusion.keys() & head.keys() and fusion["input_dim"] != head["input_dim"]:
        msg = f"the head expects input dimension {head['input_dim']}; the fusion module has {fusion['input_dim']}"
        errors.append({"loc": ["head", "from"], "msg": msg})
    return errors
