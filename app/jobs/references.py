"""The components that a specification names: whether they are or will be, and whether they fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from app.errors import InvalidSpec
from app.jobs.states import FINAL, State
from app.models import Component, Job
from core.spec import ComponentRef, JobSpec


@dataclass(frozen=True)
class References:
    """The jobs whose components a specification names, and those among them that must end first."""

    jobs: tuple[str, ...]
    unfinished: tuple[str, ...]


def check(session: Session, spec: JobSpec) -> References:
    """Looks every named component up; raises InvalidSpec that names the fields."""
    errors: list[dict[str, Any]] = []
    needed: dict[str, Job] = {}
    configs: dict[str, dict[str, Any]] = {}
    for field, ref in spec.sources().items():
        found = _look_up(session, field, ref)
        if isinstance(found, str):
            errors.append({"loc": [*field.split("."), "from"], "msg": found})
            continue
        job, component = found
        needed[job.id] = job
        if component is not None:
            configs[field] = component.config
    errors = errors or _misfits(configs)
    if errors:
        raise InvalidSpec("; ".join(f"{'.'.join(entry['loc'])}: {entry['msg']}" for entry in errors), errors=errors)
    waits = tuple(job.id for job in needed.values() if job.state not in FINAL)
    return References(tuple(needed), waits)


def _look_up(session: Session, field: str, ref: ComponentRef) -> tuple[Job, Component | None] | str:
    """The job and, where it is there already, the component; or what is wrong."""
    if ref.path is not None:
        return 'files cannot be named here: give {"job": "job_..", "component": ".."} or {"component": "cmp_.."}'
    role = "expert" if field.startswith("expert") else field
    if ref.job is None:
        component = session.get(Component, ref.component)
        job = session.get(Job, component.job_id) if component else None
        if component is None or job is None:
            return f"there is no component {ref.component}"
    else:
        job = session.exec(select(Job).where(Job.id == ref.job)).first()
        if job is None:
            return f"there is no job {ref.job}"
        name = ref.component or ""
        if name not in component_names(job.spec, job.kind):
            return (
                f"{ref.job} has no component {name}: it has {', '.join(component_names(job.spec, job.kind)) or 'none'}"
            )
        query = select(Component).where(Component.job_id == job.id, col(Component.name) == name)
        component = session.exec(query).first()
        if component is None and job.state in FINAL:
            return f"{ref.job} has {State(job.state).value} without a component {name}"
    name = component.name if component else ref.component or ""
    if name != "complete" and name.partition("_")[0] != role:
        return f"{name} is not of the role {role}"
    return job, component


def component_names(spec: dict[str, Any], kind: str) -> list[str]:
    """The components that a job of this (resolved) specification makes."""
    if kind == "evaluate":
        return []
    if kind == "expert":
        return ["expert_0"]
    return [*(f"expert_{k}" for k in range(len(spec["experts"]))), "fusion", "head", "complete"]


def _misfits(configs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What can be known not to fit from what components say of themselves."""
    fusion, head = configs.get("fusion"), configs.get("head")
    errors: list[dict[str, Any]] = []
    experts = {field: config for field, config in configs.items() if field.startswith("experts.")}
    if fusion and "feature_dims" in fusion:
        for field, config in experts.items():
            k = int(field.removeprefix("experts."))
            dims = fusion["feature_dims"]
            if k >= len(dims):
                msg = f"the fusion module is for {len(dims)} experts; this is number {k + 1}"
                errors.append({"loc": [*field.split("."), "from"], "msg": msg})
            elif config.get("feature_dim") not in (None, dims[k]):
                msg = f"its features have dimension {config['feature_dim']}, the fusion module takes {dims[k]} here"
                errors.append({"loc": [*field.split("."), "from"], "msg": msg})
    if fusion and head and {"input_dim"} <= fusion.keys() & head.keys() and fusion["input_dim"] != head["input_dim"]:
        msg = f"the head takes features of dimension {head['input_dim']}, the fusion module gives {fusion['input_dim']}"
        errors.append({"loc": ["head", "from"], "msg": msg})
    return errors
