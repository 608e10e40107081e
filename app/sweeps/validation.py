"""Turns a request's body into a sweep, or into errors that say what to change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.http.errors import Invalid
from app.sweeps import grid
from app.sweeps.errors import MAX_ERRORS
from app.sweeps.schemas import TRAINING_METRIC, NewSweep
from core.spec.fields import in_words
from core.spec.load import MAX_DEPTH

_PATTERNS = {
    TRAINING_METRIC: "must be measured during training: val/accuracy_fused, val/loss_global, train/loss_total, .."
}


def parse_sweep(data: object) -> NewSweep:
    """A sweep from plain JSON data; raises Invalid. The specifications of its points are not checked yet."""
    try:
        # Values of the base that the grid replaces are part of no specification, but they are stored and shown.
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
        if _is_too_deep(data):
            raise ValueError
        sweep = NewSweep.model_validate(data)
    except ValidationError as error:
        raise Invalid.of(_errors(error)) from None
    except (ValueError, RecursionError):
        msg = f"the body has a number or character that JSON cannot represent, or more than {MAX_DEPTH} nested levels"
        raise Invalid(msg) from None
    grid.check(sweep.base, sweep.grid)
    if sweep.early_stopping:
        _check_early_stopping(sweep.base.get("kind"), sweep.early_stopping.metric)
    tags = sweep.base.get("tags", [])
    if sweep.tags and isinstance(tags, list):
        sweep.base["tags"] = [*tags, *(tag for tag in sweep.tags if tag not in tags)]
    return sweep


def _is_too_deep(data: object) -> bool:
    level = [data]
    for _ in range(MAX_DEPTH):
        containers = [
            value.values() if isinstance(value, dict) else value for value in level if isinstance(value, dict | list)
        ]
        level = [value for container in containers for value in container]
    return bool(level)


def _errors(error: ValidationError) -> list[dict[str, Any]]:
    entries = error.errors(include_url=False, include_input=False)
    errors = [_entry(entry) for entry in entries[:MAX_ERRORS]]
    if len(entries) > MAX_ERRORS:
        errors.append({"loc": [], "msg": f"there are {len(entries) - MAX_ERRORS:,} more errors"})
    return errors


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    if "[key]" in entry["loc"]:
        return {"loc": ["grid"], "msg": "its keys are paths into a specification, such as fusion.type, experts.0.arch"}
    return {"loc": list(entry["loc"]), "msg": in_words(entry, _PATTERNS)}


def _check_early_stopping(kind: object, metric: str | None) -> None:
    if kind == "evaluate":
        msg = "evaluate jobs do not train, so there is nothing to stop: leave it out"
        raise Invalid.of([{"loc": ["early_stopping"], "msg": msg}])
    if kind == "expert" and metric is not None and metric.endswith(("fused", "ensemble")):
        msg = "an expert job does not measure this metric: use val/accuracy_expert_0, or leave it out"
        raise Invalid.of([{"loc": ["early_stopping", "metric"], "msg": msg}])
