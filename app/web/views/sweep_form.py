"""The form of a new sweep: a base specification as text, and the values of the fields that vary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.web.views.draft import valid_key
from app.web.views.spec_text import read_text, to_yaml
from core.spec import SpecError

MIN_ROWS = 3
MAX_ROWS = 32
EXAMPLE_BASE = {
    "kind": "fusion",
    "experts": [{"arch": "convnet_small"}],
    "num_experts": 4,
    "dataset": {"name": "digits"},
    "training": {"epochs": 10},
}
EXAMPLE_GRID = [("fusion.type", "multiplicative, concatenation, simpleAddition")]


@dataclass
class SweepForm:
    """What was entered, as text."""

    name: str = ""
    base: str = ""
    grid: list[tuple[str, str]] = field(default_factory=list)
    seeds: str = ""
    max_parallel: str = ""
    early: bool = False
    metric: str = ""
    min_epochs: str = ""
    reduction_factor: str = ""
    fresh: bool = False
    key: str = ""

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The rows of the grid with one to spare."""
        return self.grid + [("", "")] * max(1, MIN_ROWS - len(self.grid))


def read_sweep_form(items: Sequence[tuple[str, object]]) -> SweepForm:
    """The fields of a form; unknown ones are left out."""
    fields = {name: value.strip() for name, value in items if isinstance(value, str)}
    paths = [value.strip() for name, value in items if name == "path" and isinstance(value, str)]
    values = [value.strip() for name, value in items if name == "values" and isinstance(value, str)]
    texts = ("name", "base", "seeds", "max_parallel", "metric", "min_epochs", "reduction_factor")
    return SweepForm(
        **{name: fields.get(name, "") for name in texts},
        grid=[(path, text) for path, text in zip(paths, values, strict=False) if path or text][:MAX_ROWS],
        early="early" in fields,
        fresh="fresh" in fields,
        key=valid_key(fields.get("key", "")),
    )


def example_form() -> SweepForm:
    """A small sweep to begin with."""
    return SweepForm(base=to_yaml(EXAMPLE_BASE), grid=list(EXAMPLE_GRID), seeds="1, 2, 3")


def to_sweep(form: SweepForm) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The sweep as the API takes it, and the errors in what cannot be read."""
    errors: list[dict[str, Any]] = []
    data: dict[str, Any] = {"name": form.name}
    try:
        data["base"] = read_text(form.base)
    except SpecError as error:
        errors += [{"loc": ["base", *entry.loc], "msg": entry.msg} for entry in error.errors]
    grid: dict[str, Any] = {}
    rows = [*form.grid, ("training.seed", form.seeds)] if form.seeds else form.grid
    for path, text in rows:
        values = read_list(text)
        if path in grid:
            errors.append({"loc": ["grid", path], "msg": "is given twice: put all its values into one row"})
        elif values is None:
            errors.append({"loc": ["grid", path], "msg": 'give a list of values, such as [0.5, 1] or ["a", "b"]'})
        else:
            grid[path] = values
    data["grid"] = grid
    if form.max_parallel:
        data["max_parallel"] = _integer(form.max_parallel)
    if form.early:
        texts = {name: getattr(form, name) for name in ("min_epochs", "reduction_factor")}
        numbers = {name: _integer(text) for name, text in texts.items() if text}
        data["early_stopping"] = ({"metric": form.metric} if form.metric else {}) | numbers
    if form.fresh:
        data["fresh"] = True
    return data, errors


def _integer(text: str) -> int | str:
    """A whole number; other text stays as it is, and is refused where the sweep is checked."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def read_list(text: str) -> list[Any] | None:
    """A list of values: in JSON, or separated by commas."""
    try:
        data = read_text(f"values: {text}" if text.startswith("[") else f"values: [{text}]")
    except SpecError:
        return None
    values = data.get("values")
    return values if len(data) == 1 and isinstance(values, list) and values else None


def num_points(data: dict[str, Any]) -> int:
    """How many points a sweep has before it is checked."""
    return math.prod(len(values) for values in data["grid"].values() if isinstance(values, list))
