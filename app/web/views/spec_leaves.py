"""The fields of a job specification as a form has them: the leaves of its JSON schema, by kind of job."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from core.spec import KINDS

LeafType = Literal["text", "integer", "number", "boolean", "choice", "list", "reference", "objects"]
# The list of objects that the form has a row of fields for; every other one is a field of type `objects`.
ROWS = "experts"
# The position of an expert in a path, and what stands for it in the table of fields.
_POSITION = re.compile(r"\.\d+(?=\.|$)")
ANY_POSITION = "*"


@dataclass(frozen=True)
class Leaf:
    """One field. `path` has `*` for the position in a list of objects.

    `items` is the type of the entries of a list, or of the choices. A list of `objects` is entered as JSON.
    """

    path: str
    type: LeafType
    choices: tuple[str, ...] = ()
    default: Any = None
    items: LeafType = "text"


@cache
def leaves(kind: str) -> tuple[Leaf, ...]:
    """All fields of a kind of job, in the order of the schema, without `kind` itself."""
    schema = KINDS[kind].model_json_schema(by_alias=True)
    definitions: Mapping[str, Any] = schema["$defs"]
    return tuple(leaf for leaf in _walk(schema, "", definitions) if leaf.path != "kind")


@cache
def leaves_by_path(kind: str) -> Mapping[str, Leaf]:
    """The fields of a kind of job by their paths."""
    return {leaf.path: leaf for leaf in leaves(kind)}


def pattern_of(path: str) -> str:
    """A path with `*` for every position: `experts.3.arch` is `experts.*.arch`."""
    return _POSITION.sub(f".{ANY_POSITION}", path)


def _walk(node: Mapping[str, Any], path: str, definitions: Mapping[str, Any]) -> Iterator[Leaf]:
    # Objects with an `anyOf` of their own have it for validation alone.
    union = [node] if "properties" in node else node.get("anyOf", [node])
    branches = [_resolve(branch, definitions) for branch in union if branch.get("type") != "null"]
    objects = [branch for branch in branches if "properties" in branch]
    scalars = [branch for branch in branches if "properties" not in branch]
    default = node.get("default")
    if path.rpartition(".")[2] == "from":
        yield Leaf(path, "reference")
        return
    for branch in scalars:
        if branch.get("type") == "array" and "items" in branch:
            item = _resolve(branch["items"], definitions)
            if "properties" in item and path != ROWS:
                yield Leaf(path, "objects")
                continue
            if "properties" in item:
                yield from _walk(item, f"{path}.{ANY_POSITION}", definitions)
                continue
        yield _leaf(path, branch, default)
    for branch in objects:
        for name, child in branch["properties"].items():
            # Next to a choice, the object's `type` is the choice.
            if not (scalars and name == "type"):
                yield from _walk(child, f"{path}.{name}" if path else name, definitions)


def _resolve(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = node.get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else node


def _leaf(path: str, node: Mapping[str, Any], default: Any) -> Leaf:
    if "enum" in node:
        return Leaf(path, "choice", tuple(map(str, node["enum"])), default, _SCALARS.get(node.get("type", ""), "text"))
    if node.get("type") == "array":
        item = node.get("items") or node["prefixItems"][0]
        return Leaf(path, "list", default=default, items=_SCALARS.get(item.get("type"), "text"))
    return Leaf(path, _SCALARS.get(node.get("type", "string"), "text"), default=default)


_SCALARS: dict[str, LeafType] = {
    "string": "text", "integer": "integer", "number": "number", "boolean": "boolean",
}  # fmt: skip
