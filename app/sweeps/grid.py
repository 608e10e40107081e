"""From a base and a grid to specifications."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from app.http.errors import Invalid, InvalidSpec
from app.jobs.checking import checked
from app.settings import Settings
from core.spec import JobSpec, SpecError
from core.spec.load import set_value

MAX_POINTS = 10_000
# Mistakes are alike at many points: these many different ones are told.
MAX_ERRORS = 20
SEEDS = ("training.seed", "dataset.split.seed")
# Longest job name that a specification takes.
NAME_LENGTH = 200

Grid = Mapping[str, list[Any]]
Given = dict[str, Any]


def check(grid: Grid) -> None:
    """Raises Invalid for a grid that cannot be, whatever the base is; builds no point."""
    errors = [{"loc": ["grid", path], "msg": msg} for path, msg in _mistakes(grid)]
    count = math.prod(len(values) for values in grid.values())
    if not errors and count > MAX_POINTS:
        msg = f"this would be {count:,} points, {MAX_POINTS:,} are allowed: give fewer values, or several sweeps"
        errors = [{"loc": ["grid"], "msg": msg}]
    if errors:
        raise Invalid.of(errors)


def _mistakes(grid: Grid) -> Iterator[tuple[str, str]]:
    for path, values in grid.items():
        if path == "kind":
            yield path, "a sweep is of one kind of job: give it in base"
        if path == "name":
            yield path, "jobs are named after the values of their points: give a name in base"
        over = next((other for other in grid if path.startswith(f"{other}.")), None)
        if over is not None:
            yield path, f"{over} is in the grid too, and holds it: leave one of them out"
        if len(values) <= MAX_POINTS:
            first = {_same(value): index for index, value in reversed(list(enumerate(values)))}
            twice = next((index for index, value in enumerate(values) if first[_same(value)] != index), None)
            if twice is not None:
                yield path, f"values {first[_same(values[twice])] + 1} and {twice + 1} are the same: leave one out"


def _same(value: Any) -> Any:
    """A key that equal values have in common: 1 and 1.0, but not 1 and true."""
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    return type(value) is bool, type(value) is str, value


def points(grid: Grid) -> Iterator[Given]:
    """The values of every point, the last field's changing fastest."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def specs(settings: Settings, name: str, base: dict[str, Any], grid: Grid, wanted: list[Given]) -> list[JobSpec]:
    """The specification of each of these points; raises InvalidSpec that names the points' values."""
    text = json.dumps(base)
    made: list[JobSpec] = []
    mistakes = Mistakes(grid)
    for given in wanted:
        try:
            made.append(checked(settings, _data(text, name, given)))
        except SpecError as error:
            mistakes.add(given, [{"loc": list(entry.loc), "msg": entry.msg} for entry in error.errors])
        except InvalidSpec as error:
            mistakes.add(given, error.errors)
    mistakes.raise_if_any()
    return made


class Mistakes:
    """What is wrong with points, each mistake once, by its field of the grid or the base."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._found: dict[str, dict[str, Any]] = {}

    def add(self, given: Given, errors: list[dict[str, Any]]) -> None:
        """Takes what is wrong with the specification of one point; raises InvalidSpec if that is enough."""
        for error in errors:
            placed = error if error["loc"][:1] == ["grid"] else error | {"loc": self._place(given, error)}
            told = f"{error['msg']} (at {self._named(given)})"
            self._found.setdefault(json.dumps(placed), placed | {"msg": told})
        if len(self._found) >= MAX_ERRORS:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Raises InvalidSpec."""
        errors = list(self._found.values())
        if errors:
            raise InvalidSpec.of(errors)

    def _place(self, given: Given, error: dict[str, Any]) -> list[Any]:
        """Where a mistake in a specification was made: in the grid, if it gave that field or a part of it."""
        loc = [str(part) for part in error["loc"]]
        for path, value in given.items():
            parts = path.split(".")
            if loc and (loc[: len(parts)] == parts or parts[: len(loc)] == loc):
                unknown = error["msg"] == "there is no such field" and len(loc) <= len(parts)
                return ["grid", path] if unknown else ["grid", path, _index(self._grid[path], value)]
        return ["base", *error["loc"]]

    def _named(self, given: Given) -> str:
        """A point by its values: numbers as they are, the rest by place, for what was sent is not repeated."""
        told = []
        for path, value in given.items():
            short = None if isinstance(value, str | dict | list) else json.dumps(value)
            plain = short is not None and len(short) <= 24
            told.append(f"{path}={short}" if plain else f"{path}[{_index(self._grid[path], value)}]")
        return ", ".join(told)


def _data(text: str, name: str, given: Given) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(text)
    for path, value in given.items():
        set_value(data, path, value, given_in="grid")
    called = data.get("name") or name
    if isinstance(called, str):
        data["name"] = f"{called} {_suffix(given)}"[: max(NAME_LENGTH, len(called))].strip()
    return data


def _suffix(given: Given) -> str:
    """The values as a name tells them: the last part of each path, with as much before it as tells it apart."""
    told = []
    for path, value in given.items():
        short = path.rpartition(".")[2]
        alike = [other for other in given if other.rpartition(".")[2] == short]
        shown = value if isinstance(value, str) else json.dumps(value)
        told.append(f"{path if len(alike) > 1 or short.isdigit() else short}={shown}")
    return "".join(sign if sign.isprintable() else "?" for sign in " ".join(told))


def _index(values: list[Any], value: Any) -> int:
    return next(index for index, other in enumerate(values) if _same(other) == _same(value))
