"""Where specifications of jobs differ, field by field, and how their results compare."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.results.metrics.directions import known_direction
from app.web.views import words

_BEFORE = re.compile(r"test/accuracy_expert_(\d+)_before")
_EXPERT = re.compile(r"test/accuracy_expert_(\d+)")
# Values of single experts have a table of their own.
_OF_AN_EXPERT = re.compile(r"test/accuracy_expert_\d+(_before)?")

_IN_POINTS = re.compile("contribution|shapley")


@dataclass(frozen=True)
class FieldRow:
    """A field of the specifications with its value in each; None where it is null or absent."""

    path: str
    values: list[str | None]
    differs: bool


@dataclass(frozen=True)
class Cell:
    """A value of a job as text, its difference to that of the baseline, and whether it is the best of all."""

    text: str
    delta: str | None
    is_best: bool


@dataclass(frozen=True)
class MetricRow:
    """A metric with its value for each job, all with the same decimals."""

    key: str
    label: str
    cells: list[Cell]


@dataclass(frozen=True)
class ExpertRow:
    """The test accuracy of an expert in each job, before and after training; None where a job lacks it."""

    expert: int
    pairs: list[tuple[float | None, float | None]]


def field_rows(specs: Sequence[Mapping[str, Any]]) -> list[FieldRow]:
    """All fields of the specifications, in the order in which they appear first."""
    flat = [dict(_flattened(spec)) for spec in specs]
    paths = dict.fromkeys(path for fields in flat for path in fields)
    rows = []
    for path in paths:
        values = [fields.get(path) for fields in flat]
        rows.append(FieldRow(path, values, len(set(values)) > 1))
    return rows


def metric_rows(
    results: Sequence[Mapping[str, float | None]], on_other_images: Sequence[object] = ()
) -> list[MetricRow]:
    """The results on test images that at least one job has, without those of single experts.

    Jobs that are true in `on_other_images` have no difference to the baseline, and are not the best.
    """
    compared = [not other for other in on_other_images or [False] * len(results)]
    names = {key for one in results for key in one}
    # Another name for the same value.
    names -= {"test/accuracy_ensemble_logits"} if "test/accuracy_ensemble" in names else set()
    keys = [key for key in names if key.startswith("test/") and not _OF_AN_EXPERT.fullmatch(key)]
    keys.sort(key=lambda key: (key != "test/accuracy_fused", not key.startswith("test/accuracy"), key))
    return [_metric_row(key, [one.get(key) for one in results], compared) for key in keys]


def expert_rows(results: Sequence[Mapping[str, float | None]]) -> list[ExpertRow]:
    """Experts by index with their accuracy before and after training in each job."""
    matches = (_EXPERT.fullmatch(key) or _BEFORE.fullmatch(key) for one in results for key in one)
    indices = sorted({int(match[1]) for match in matches if match})
    return [
        ExpertRow(
            k, [(one.get(f"test/accuracy_expert_{k}_before"), one.get(f"test/accuracy_expert_{k}")) for one in results]
        )
        for k in indices
    ]


def signed(difference: float, places: int) -> str:
    """A difference with its sign."""
    if difference == 0:
        return "±0"
    return ("+" if difference > 0 else "\u2212") + words.fixed(abs(difference), places)


def _metric_row(key: str, values: Sequence[float | None], compared: Sequence[bool]) -> MetricRow:
    # What experts are worth is written in points, as on the page of a job.
    in_points = _IN_POINTS.search(key) is not None
    places = 1 if in_points else words.decimals(values, key)
    known = [value for value, counts in zip(values, compared, strict=True) if value is not None and counts]
    better = known_direction(key)
    best = (max if better == "max" else min)(known) if better and len(known) > 1 else None
    first = values[0]
    cells = []
    for number, (value, counts) in enumerate(zip(values, compared, strict=True)):
        has_delta = number > 0 and counts
        difference = value - first if has_delta and value is not None and first is not None else None
        delta = None if difference is None else signed(100 * difference if in_points else difference, places)
        text = words.points(value) if in_points else words.fixed(value, places)
        cells.append(Cell(text, delta, counts and value is not None and value == best))
    label = key.removeprefix("test/").replace("_", " ")
    return MetricRow(key, f"{label}, points" if in_points else label, cells)


def _flattened(value: Any, path: str = "") -> Iterator[tuple[str, str | None]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flattened(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        for number, inner in enumerate(value):
            yield from _flattened(inner, f"{path}[{number}]")
    else:
        yield path, value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
