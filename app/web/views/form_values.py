"""Between the values of a form, which are text by path, and a specification, which is plain data."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.web.views.spec_leaves import Leaf, LeafType, leaves, leaves_by_path, pattern_of
from core.spec.fields import COMPONENT_NAME, JOB_ID
from core.spec.jobs import MAX_EXPERTS

Values = dict[str, str]
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[-+]?\d{1,20}", re.ASCII)
_EXPERT = re.compile(r"experts\.(0|[1-9]\d?)\.", re.ASCII)
_JOB_COMPONENT = re.compile(rf"({JOB_ID[1:-1]})\s*/\s*({COMPONENT_NAME[1:-1]})")


def rows_of(values: Mapping[str, str]) -> list[int]:
    """The rows of experts in a form that have a value, in order."""
    rows = {int(match[1]) for name, text in values.items() if text.strip() and (match := _EXPERT.match(name))}
    return sorted(row for row in rows if row < MAX_EXPERTS)


def to_spec(kind: str, values: Mapping[str, str]) -> dict[str, Any]:
    """The specification with what was filled in, in the order of the schema; text that is no number stays text."""
    spec: dict[str, Any] = {"kind": kind}
    rows = rows_of(values)
    for leaf in leaves(kind):
        if "*" not in leaf.path:
            _set(spec, leaf.path, leaf, values.get(leaf.path, ""))
    if rows and "experts.*.arch" in leaves_by_path(kind):
        experts: list[dict[str, Any]] = [{} for _ in rows]
        for expert, row in zip(experts, rows, strict=True):
            for leaf in leaves(kind):
                prefix, star, name = leaf.path.partition("experts.*.")
                if star and not prefix:
                    _set(expert, name, leaf, values.get(f"experts.{row}.{name}", ""))
        spec["experts"] = experts
    return ordered(spec)


_FIRST = (
    "kind",
    "name",
    "tags",
    "expert",
    "experts",
    "num_experts",
    "fusion",
    "head",
    "input_dim",
    "dataset",
    "training",
)


def ordered(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A specification in the order in which a person would write it."""
    return {key: spec[key] for key in (*_FIRST, *spec) if key in spec}


def _set(container: dict[str, Any], path: str, leaf: Leaf, text: str) -> None:
    text = text.strip()
    if not text:
        return
    *parents, last = path.split(".")
    for part in parents:
        inner = container.get(part)
        if not isinstance(inner, dict):
            # A schedule by its name becomes an object as soon as one of its other fields is given.
            inner = container[part] = {} if inner in (None, "auto") else {"type": inner}
        container = inner
    container[last] = _reference(text) if leaf.type == "reference" else _value(leaf, text)


def _value(leaf: Leaf, text: str) -> Any:
    if leaf.type == "objects":
        return _objects(text)
    if leaf.type == "list":
        return [_scalar(leaf.items, part.strip()) for part in text.split(",") if part.strip()]
    return _scalar(leaf.items if leaf.type == "choice" else leaf.type, text)


def _objects(text: str) -> Any:
    """The JSON in a text; the text itself if it is none, which parsing then refuses."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return text
    return value


def _scalar(kind: LeafType, text: str) -> Any:
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    if kind in ("integer", "number") and _INTEGER.fullmatch(text):
        return int(text)
    if kind in ("integer", "number") and len(text) < 60 and _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _reference(text: str) -> dict[str, str]:
    match = _JOB_COMPONENT.fullmatch(text)
    return {"job": match[1], "component": match[2]} if match else {"component": text}


def to_values(kind: str, spec: Mapping[str, Any]) -> Values:
    """The values of a form that stand for a specification; what the form cannot show is left out."""
    return {name: text for name, text in _walk(kind, spec, "") if text}


def _walk(kind: str, node: Any, path: str) -> Iterator[tuple[str, str]]:
    leaf = leaves_by_path(kind).get(pattern_of(path))
    if leaf is not None and leaf.type == "reference":
        yield path, _reference_text(node)
    elif leaf is not None and leaf.type == "objects":
        yield path, json.dumps(node, ensure_ascii=False) if node else ""
    elif leaf is not None and leaf.type == "list" and isinstance(node, list):
        yield path, ", ".join(_text(entry) for entry in node)
    elif isinstance(node, Mapping):
        if leaf is not None and "type" in node:
            yield path, _text(node["type"])
        for key, child in node.items():
            yield from _walk(kind, child, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for position, child in enumerate(node[:MAX_EXPERTS]):
            yield from _walk(kind, child, f"{path}.{position}")
    elif leaf is not None:
        yield path, _text(node)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _reference_text(node: Any) -> str:
    if not isinstance(node, Mapping):
        return _text(node)
    job, component = _text(node.get("job")), _text(node.get("component"))
    return f"{job}/{component}" if job else component or _text(node.get("path"))
