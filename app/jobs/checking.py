"""From what a request sent to a specification, or to errors that say what to change."""

from __future__ import annotations

import json

from app.http.errors import InvalidSpec
from app.settings import Settings
from core.spec import JobSpec, SpecError, parse_spec
from core.spec.places import find_path


def checked(settings: Settings, data: object) -> JobSpec:
    """A specification from a request's body; raises InvalidSpec."""
    try:
        spec = parse_spec(data)
    except SpecError as error:
        # What was given is not repeated: it may hold anything, secrets included.
        raise InvalidSpec.of([{"loc": list(entry.loc), "msg": entry.msg} for entry in error.errors]) from None
    if spec.resources.executor == "slurm" and (spec.resources.time_limit_min or settings.slurm_time_limit_min) is None:
        msg = "Slurm wants to know how long a job may take: give minutes, or have MCN_SLURM_TIME_LIMIT_MIN set"
        raise InvalidSpec.of([{"loc": ["resources", "time_limit_min"], "msg": msg}])
    if spec.resources.executor == "local" and spec.resources.nodes > 1:
        msg = "a job on the service's own machines has one node: leave it out, or take executor slurm"
        raise InvalidSpec.of([{"loc": ["resources", "nodes"], "msg": msg}])
    _, _, path = spec.dataset.name.partition(":")
    if path:
        try:
            find_path(path, settings.roots)
        except ValueError as error:
            raise InvalidSpec.of([{"loc": ["dataset", "name"], "msg": str(error)}]) from None
    return spec


def read_body(body: bytes) -> object:
    """JSON as a request sent it; raises InvalidSpec for what is none, NaN and Infinity included."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON number")

    try:
        return json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        message = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidSpec(f"the body is not JSON: {message[:200]}") from None
