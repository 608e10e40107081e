"""Turns a request's body into a job specification, or into errors that say what to change."""

from __future__ import annotations

import json

from app.http.errors import InvalidSpec
from app.settings import Settings
from core.spec import JobSpec, SpecError, parse_spec, parse_stored
from core.spec.data_paths import find_path
from core.spec.outline import fusion_heads_error


def parse_job(settings: Settings, data: object, *, stored: bool = False) -> JobSpec:
    """A job specification from plain JSON data, checked against this service's settings; raises InvalidSpec.

    A `stored` one may have been accepted by an earlier version.
    """
    try:
        spec = parse_stored(data) if stored else parse_spec(data)
    except SpecError as error:
        # The input is not echoed: it may hold secrets.
        raise InvalidSpec.of([{"loc": list(entry.loc), "msg": entry.msg} for entry in error.errors]) from None
    if spec.resources.executor == "slurm" and (spec.resources.time_limit_min or settings.slurm_time_limit_min) is None:
        msg = "Slurm jobs need a time limit: give it in minutes, or set MCN_SLURM_TIME_LIMIT_MIN for the service"
        raise InvalidSpec.of([{"loc": ["resources", "time_limit_min"], "msg": msg}])
    if spec.resources.executor == "local" and spec.resources.nodes > 1:
        msg = "a local job runs on one node: leave it out, or use executor slurm"
        raise InvalidSpec.of([{"loc": ["resources", "nodes"], "msg": msg}])
    if wrong_heads := fusion_heads_error(spec):
        raise InvalidSpec.of([{"loc": ["fusion", "heads"], "msg": wrong_heads}])
    if not stored and (wrong_size := spec.dataset.image_size_error()):
        raise InvalidSpec.of([{"loc": ["dataset", "image_size"], "msg": wrong_size}])
    _, _, path = spec.dataset.name.partition(":")
    if path:
        try:
            find_path(path, settings.roots)
        except ValueError as error:
            raise InvalidSpec.of([{"loc": ["dataset", "name"], "msg": str(error)}]) from None
    return spec


def parse_body(body: bytes) -> object:
    """The JSON value of a UTF-8 body; raises InvalidSpec, for NaN and Infinity too."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not a JSON number")

    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=refuse)
    except UnicodeDecodeError:
        raise InvalidSpec("the body is not UTF-8: send JSON encoded as UTF-8") from None
    except (ValueError, RecursionError) as error:
        message = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        if "integer string conversion" in message:
            message = "it has an integer of more than 4,300 digits"
        raise InvalidSpec(f"the body is not JSON: {message[:200]}") from None
