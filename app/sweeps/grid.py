"""Expands a base specification and a grid into one specification per point."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from app.http.errors import Invalid, InvalidSpec
from app.jobs.validation import parse_job
from app.settings import Settings
from app.sweeps.errors import Grid, PointErrors, PointValues, equality_key
from core.spec import JobSpec, SpecError
from core.spec.load import set_value

MAX_POINTS = 10_000
# Bounds in bytes of JSON: the largest specification of a point, and all specifications together.
MAX_SPEC_BYTES = 256 << 10
MAX_TOTAL_BYTES = 64 << 20
SEEDS = ("training.seed", "dataset.split.seed")
# The longest job name that a specification allows.
MAX_NAME_LENGTH = 200


def check(base: dict[str, Any], grid: Grid) -> None:
    """Raises Invalid for a grid that is ambiguous, or too large with this base; expands no point."""
    errors = [{"loc": ["grid", path], "msg": msg} for path, msg in _field_errors(grid)]
    if not errors:
        errors = _size_errors(base, grid)
    if errors:
        raise Invalid.of(errors)


def _field_errors(grid: Grid) -> Iterator[tuple[str, str]]:
    for path, values in grid.items():
        if path == "kind":
            yield path, "all jobs of a sweep have the same kind: give it in base"
        if path == "name":
            yield path, "jobs are named after the values of their points: give a name in base"
        parent = next((other for other in grid if path.startswith(f"{other}.")), None)
        if parent is not None:
            yield path, f"{parent} is in the grid too and contains it: remove one of them"
        if len(values) <= MAX_POINTS:
            first = {equality_key(value): index for index, value in reversed(list(enumerate(values)))}
            repeated = next((index for index, value in enumerate(values) if first[equality_key(value)] != index), None)
            if repeated is not None:
                earlier = first[equality_key(values[repeated])]
                yield path, f"values {earlier + 1} and {repeated + 1} are the same: remove one of them"


def _size_errors(base: dict[str, Any], grid: Grid) -> list[dict[str, Any]]:
    num_points = math.prod(len(values) for values in grid.values())
    if num_points > MAX_POINTS:
        msg = f"the grid has {num_points:,} points; {MAX_POINTS:,} are allowed: give fewer values, or several sweeps"
        return [{"loc": ["grid"], "msg": msg}]
    size = len(json.dumps(base))
    if size > MAX_SPEC_BYTES:
        msg = f"has {size:,} bytes of JSON; {MAX_SPEC_BYTES:,} are allowed"
        return [{"loc": ["base"], "msg": msg}]
    size += sum(max(len(json.dumps(value)) for value in values) for values in grid.values())
    if size > MAX_SPEC_BYTES:
        msg = f"a point's specification would have up to {size:,} bytes of JSON; {MAX_SPEC_BYTES:,} are allowed"
        return [{"loc": ["grid"], "msg": msg}]
    if size * num_points > MAX_TOTAL_BYTES:
        msg = (
            f"{num_points:,} points of up to {size:,} bytes are {size * num_points:,} bytes of JSON; "
            f"{MAX_TOTAL_BYTES:,} are allowed: give fewer values, or several sweeps"
        )
        return [{"loc": ["grid"], "msg": msg}]
    return []


def points(grid: Grid) -> Iterator[PointValues]:
    """The values of every point; those of the last field change fastest."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def point_specs(
    settings: Settings, name: str, base: dict[str, Any], grid: Grid, selected: Sequence[PointValues]
) -> list[JobSpec]:
    """The specifications of these points; raises InvalidSpec with the errors of all of them.

    Checking stops at the first point with an error that lies in the base: the other points share the base.
    """
    base_json = json.dumps(base)
    specs: list[JobSpec] = []
    errors = PointErrors(grid)
    for values in selected:
        try:
            specs.append(parse_job(settings, _point_data(base_json, name, values)))
        except SpecError as error:
            errors.add(values, [{"loc": list(entry.loc), "msg": entry.msg} for entry in error.errors])
        except InvalidSpec as error:
            errors.add(values, error.errors)
        if errors.any_in_base:
            errors.raise_if_any()
    errors.raise_if_any()
    return specs


def _point_data(base_json: str, name: str, values: PointValues) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(base_json)
    for path, value in values.items():
        set_value(data, path, value, origin="grid")
    prefix = data.get("name") or name
    if isinstance(prefix, str):
        data["name"] = f"{prefix} {_suffix(values)}"[: max(MAX_NAME_LENGTH, len(prefix))].strip()
    return data


def _suffix(values: PointValues) -> str:
    """The values as they appear in a job's name: by the last part of each path, or all of it if ambiguous."""
    last_parts = [path.rpartition(".")[2] for path in values]
    words = []
    for (path, value), last in zip(values.items(), last_parts, strict=True):
        text = value if isinstance(value, str) else json.dumps(value)
        words.append(f"{path if last_parts.count(last) > 1 or last.isdigit() else last}={text}")
    return "".join(character if character.isprintable() else "?" for character in " ".join(words))
