"""The components that a specification names: whether they are or will be, and whether they fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from app.http.errors import InvalidSpec
from app.models import TERMINAL_STATES, Component, Job, State, Worker
from core.spec import ComponentRef, JobSpec


@dataclass(frozen=True)
class References:
    """The jobs whose components a specification names, and those among them that must end first."""

    jobs: tuple[str, ...]
    unfinished: tuple[str, ...]


# Built once: building a statement takes longer than asking it.
_COLUMNS = select(
    Job.id,
    Job.state,
    Job.kind,
    col(Job.spec),
    col(Component.name),
    col(Component.config),  # type: ignore[call-overload]
)
_BY_JOB = _COLUMNS.select_from(Job).outerjoin(
    Component, (col(Component.job_id) == col(Job.id)) & (col(Component.name) == bindparam("component"))
).where(col(Job.id) == bindparam("job"))  # fmt: skip
_BY_ID = (
    _COLUMNS.select_from(Component)
    .join(Job, col(Component.job_id) == col(Job.id))
    .where(col(Component.id) == bindparam("component"))
)


class _Found(NamedTuple):
    """The job of a named component; `name` and `config` are of the component, where it is there already."""

    job: str
    state: str
    kind: str
    spec: dict[str, Any]
    name: str | None
    config: dict[str, Any] | None


LookedUp = dict[ComponentRef, _Found | str]


def check(session: Session, spec: JobSpec, looked_up: LookedUp | None = None) -> References:
    """Looks every named component up; raises InvalidSpec that names the fields.

    What is in `looked_up` is not looked up again: for many specifications in one transaction.
    """
    errors: list[dict[str, Any]] = []
    needed: dict[str, str] = {}
    configs: dict[str, dict[str, Any]] = {}
    looked_up = {} if looked_up is None else looked_up
    for field, ref in spec.sources().items():
        if ref not in looked_up:
            looked_up[ref] = _look_up(session, ref)
        found = looked_up[ref]
        wrong = found if isinstance(found, str) else _unfit(field, ref, found)
        if wrong:
            errors.append({"loc": [*field.split("."), "from"], "msg": wrong})
        elif not isinstance(found, str):
            needed[found.job] = found.state
            if found.config is not None:
                configs[field] = found.config
    errors = errors or _misfits(configs) or executor_errors(session, spec)
    if errors:
        raise InvalidSpec.of(errors)
    return References(tuple(needed), tuple(job for job, state in needed.items() if state not in TERMINAL_STATES))


def executor_errors(session: Session, spec: JobSpec) -> list[dict[str, Any]]:
    """What is wrong where a job is for Slurm and no worker that was ever heard of has it."""
    if spec.resources.executor != "slurm":
        return []
    known = session.exec(select(Worker.slurm)).all()
    if not known or any(slurm is not None for slurm in known):
        return []
    msg = "no worker of this service has Slurm: leave it out to train on the service's own machines"
    return [{"loc": ["resources", "executor"], "msg": msg}]


def _look_up(session: Session, ref: ComponentRef) -> _Found | str:
    """What is known of a component that is or will be; or why there is none."""
    if ref.path is not None:
        return 'files cannot be named here: give {"job": "job_..", "component": ".."} or {"component": "cmp_.."}'
    by, names = (_BY_ID, {}) if ref.job is None else (_BY_JOB, {"job": ref.job})
    row = session.connection().execute(by, {**names, "component": ref.component}).first()
    if row is None:
        return f"there is no component {ref.component}" if ref.job is None else f"there is no job {ref.job}"
    found = _Found(*row)
    made = component_names(found.spec, found.kind)
    if ref.job is not None and ref.component not in made:
        return f"{ref.job} has no component {ref.component}: it has {', '.join(made) or 'none'}"
    if found.name is None and found.state in TERMINAL_STATES:
        return f"{ref.job} has {State(found.state).value} without a component {ref.component}"
    return found


def _unfit(field: str, ref: ComponentRef, found: _Found) -> str | None:
    """Why a component cannot be what the field asks for."""
    role = "expert" if field.startswith("expert") else field
    name = found.name or ref.component or ""
    return None if name == "complete" or name.partition("_")[0] == role else f"{name} is not of the role {role}"


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
