"""Collects the errors of a sweep's points, each once, located in the grid or in the base."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.http.errors import InvalidSpec

Grid = Mapping[str, list[Any]]
PointValues = dict[str, Any]
# The points of a sweep tend to have the same errors: checking stops after this many different ones.
MAX_ERRORS = 20


def equality_key(value: Any) -> Any:
    """A hashable key that equal JSON values share: 1 equals 1.0, but not true."""
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    return type(value) is bool, type(value) is str, value


class PointErrors:
    """The distinct errors of a sweep's points."""

    def __init__(self, grid: Grid) -> None:
        self._positions: dict[str, dict[Any, int]] = {
            path: {equality_key(value): index for index, value in reversed(list(enumerate(values)))}
            for path, values in grid.items()
        }
        self._errors: dict[str, dict[str, Any]] = {}

    def add(self, values: PointValues, errors: list[dict[str, Any]]) -> None:
        """Adds the errors of one point; raises InvalidSpec once there are `MAX_ERRORS` different ones."""
        for error in errors:
            loc = error["loc"] if error["loc"][:1] == ["grid"] else self._locate(values, error)
            key = json.dumps([loc, error["msg"]])
            if key not in self._errors:
                self._errors[key] = {"loc": loc, "msg": f"{error['msg']} (at {self._describe(values)})"}
        if len(self._errors) >= MAX_ERRORS:
            self.raise_if_any()

    @property
    def any_in_base(self) -> bool:
        """Whether an error lies outside the grid: every point is likely to have it."""
        return any(error["loc"][:1] == ["base"] for error in self._errors.values())

    def raise_if_any(self) -> None:
        """Raises InvalidSpec with all errors, if there are any."""
        if self._errors:
            raise InvalidSpec.of(list(self._errors.values())[:MAX_ERRORS])

    def _locate(self, values: PointValues, error: dict[str, Any]) -> list[Any]:
        """The location of a specification's error in the sweep: in the grid if that set the field or a part of it."""
        loc = [str(part) for part in error["loc"]]
        for path, value in values.items():
            parts = path.split(".")
            if loc and (loc[: len(parts)] == parts or parts[: len(loc)] == loc):
                unknown = error["msg"] == "there is no such field" and len(loc) <= len(parts)
                return ["grid", path] if unknown else ["grid", path, self._position(path, value)]
        return ["base", *error["loc"]]

    def _describe(self, values: PointValues) -> str:
        """A point by its values: short numbers as they are, everything else by index, so that no input is echoed."""
        parts = []
        for path, value in values.items():
            text = None if isinstance(value, str | dict | list) else json.dumps(value)
            short = text is not None and len(text) <= 24
            parts.append(f"{path}={text}" if short else f"{path}[{self._position(path, value)}]")
        return ", ".join(parts)

    def _position(self, path: str, value: Any) -> int:
        return self._positions[path][equality_key(value)]
