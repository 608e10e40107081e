"""The swept fields of a sweep: which of them span the heat map, and how their values are written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.http.errors import Invalid
from app.sweeps.grid import SEEDS

Grid = Mapping[str, Sequence[Any]]
# Longer values stand in addresses by their position in the grid, as in `#3`.
MAX_ADDRESS_VALUE = 100


@dataclass(frozen=True)
class Layout:
    """What the heat map shows: the fields of its rows and columns, and one value of each other field.

    `at` holds positions of values in the grid. Fields in none of these, which are seeds, are averaged.
    """

    rows: str | None
    cols: str
    at: dict[str, int]


def layout(grid: Grid, rows: str | None, cols: str | None, at: Mapping[str, str], best: Mapping[str, Any]) -> Layout:
    """The layout that an address asks for; what it leaves open follows from the grid and from the best point.

    Raises Invalid for a field or a value that the sweep does not have.
    """
    for name, path in (("rows", rows), ("cols", cols), *((f"at.{path}", path) for path in at)):
        if path and path not in grid:
            raise Invalid(f"{name}: this sweep has no field {path[:80]!r}; it has {', '.join(grid)}")
    fields = [path for path in grid if path not in SEEDS] or list(grid)
    chosen = {path: _position(grid, path, text) for path, text in at.items() if text}
    # Fields with one value make the worst axes; the order of the grid decides among the others.
    axes = sorted(fields, key=lambda path: len(grid[path]) == 1)
    cols = cols or next((path for path in axes[1:2] + axes if path != rows), axes[0])
    rows = rows or next((path for path in axes if path != cols), None)
    if rows == cols:
        rows = next((path for path in axes if path != cols), None)
    others = [path for path in fields if path not in (rows, cols)]
    return Layout(rows, cols, {path: chosen.get(path, _position_of(grid[path], best.get(path))) for path in others})


def _position(grid: Grid, path: str, text: str) -> int:
    addresses = [address_value(grid, path, index) for index in range(len(grid[path]))]
    if text not in addresses:
        raise Invalid(f"at.{path}: the sweep has no such value; it has {', '.join(addresses[:20])}")
    return addresses.index(text)


def _position_of(values: Sequence[Any], best: Any) -> int:
    keys = [key(value) for value in values]
    return keys.index(key(best)) if key(best) in keys else 0


def address_value(grid: Grid, path: str, index: int) -> str:
    """A value of the grid as it stands in an address."""
    value = grid[path][index]
    text = label(value)
    if isinstance(value, str) and (value.startswith("#") or _is_json(value)):
        text = json.dumps(value)
    return text if len(text) <= MAX_ADDRESS_VALUE else f"#{index}"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def label(value: Any) -> str:
    """A value as people read it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def key(value: Any) -> str:
    """What equal values share: 1 and 1.0 are equal, and true is neither."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Each path by its last part, or as a whole where several end alike."""
    lasts = [path.rpartition(".")[2] for path in paths]
    return {
        path: last if lasts.count(last) == 1 and not last.isdigit() else path
        for path, last in zip(paths, lasts, strict=True)
    }
