"""The reference of job specifications, from the pydantic models in `core.spec`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.spec import KINDS
from core.spec.fields import in_words
from docs.generate.descriptions import DESCRIPTIONS
from docs.generate.markdown import code, codes, table

# In a path, stands for the index of an entry of a list.
INDEX = "K"


@dataclass
class Section:
    """A model, the paths of the specification that hold it, and the fields that its table lists."""

    title: str
    model: type[BaseModel]
    fields: dict[str, FieldInfo]
    prefixes: list[str] = field(default_factory=list)


def reference() -> str:
    """A section for every model: paths, types, defaults, allowed values and meanings of its fields."""
    return "\n".join(_section(section) for section in sections())


def sections() -> list[Section]:
    """Every section in reading order: what all kinds share, what each kind adds, then the models inside."""
    models = list(KINDS.values())
    shared = set.intersection(*(set(model.model_fields) for model in models))
    found = [Section("Every job", models[0], _only(models[0], shared), [""])]
    by_fields: dict[tuple[str, ...], list[str]] = {}
    for kind, model in KINDS.items():
        by_fields.setdefault(tuple(name for name in model.model_fields if name not in shared), []).append(kind)
    for names, kinds in by_fields.items():
        model = KINDS[kinds[0]]
        found.append(Section(f"Only in jobs of kind {codes(kinds)}", model, _only(model, set(names)), [""]))
    nested: dict[type[BaseModel], Section] = {}
    for section in found:
        _add_nested(section, nested)
    return found + list(nested.values())


def _add_nested(section: Section, nested: dict[type[BaseModel], Section]) -> None:
    for name, info in section.fields.items():
        for model in _models_in(info.annotation):
            known = model in nested
            inner = nested.setdefault(model, Section("", model, dict(model.model_fields)))
            path = info.alias or name
            entry = f"{path}.{INDEX}." if _is_list(info.annotation) else f"{path}."
            inner.prefixes += [prefix + entry for prefix in section.prefixes if prefix + entry not in inner.prefixes]
            inner.title = codes(prefix.rstrip(".") for prefix in inner.prefixes)
            if not known:
                _add_nested(inner, nested)


def paths() -> Iterator[tuple[str, FieldInfo]]:
    """Every field of the reference by its first path."""
    for section in sections():
        for name, info in section.fields.items():
            yield section.prefixes[0] + (info.alias or name), info


def description(path: str, info: FieldInfo) -> str:
    """What a field means: its own description, else that of the longest matching end of its path; or empty."""
    if info.description:
        return info.description
    parts = path.split(".")
    ends = (".".join(parts[start:]) for start in range(len(parts)))
    return next((DESCRIPTIONS[end] for end in ends if end in DESCRIPTIONS), "")


def _only(model: type[BaseModel], names: set[str]) -> dict[str, FieldInfo]:
    return {name: info for name, info in model.model_fields.items() if name in names}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _is_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is tuple


def _section(section: Section) -> str:
    schema = section.model.model_json_schema(by_alias=True)
    rows = []
    for name, info in section.fields.items():
        key = info.alias or name
        path = section.prefixes[0] + key
        shape = schema["properties"][key]
        allowed = codes(KINDS) if path == "kind" else _allowed(shape)
        rows.append([code(path), _type(shape), _default(info, shape), allowed, description(path, info)])
    about = "" if section.prefixes == [""] else f"{inspect.cleandoc(section.model.__doc__ or '')}\n\n"
    return f"### {section.title}\n\n{about}" + table(["path", "type", "default", "allowed", "meaning"], rows)


def _branches(shape: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(shape.get("anyOf", [shape]))


def _type(shape: Mapping[str, Any]) -> str:
    return " or ".join(dict.fromkeys(_type_of(branch) for branch in _branches(shape)))


def _type_of(shape: Mapping[str, Any]) -> str:
    if "$ref" in shape or "allOf" in shape:
        return "object"
    if "enum" in shape or "const" in shape:
        return "string"
    if shape.get("type") == "array":
        inner = {_type_of(item) for item in shape.get("prefixItems", [shape.get("items", {})])}
        return f"list of {' or '.join(sorted(inner))}s"
    return str(shape.get("type", "any"))


def _default(info: FieldInfo, shape: Mapping[str, Any]) -> str:
    if info.is_required():
        return "required"
    value = shape.get("default")
    return "" if isinstance(value, dict) else code(value if isinstance(value, str) and value else json.dumps(value))


def _allowed(shape: Mapping[str, Any]) -> str:
    said = [_allowed_of(branch) for branch in _branches(shape)]
    return " or ".join(part for part in said if part)


def _allowed_of(shape: Mapping[str, Any]) -> str:
    if "enum" in shape:
        return codes(shape["enum"])
    if "const" in shape:
        return code(shape["const"])
    if shape.get("type") == "array":
        return f"at most {shape['maxItems']} entries" if "prefixItems" not in shape and "maxItems" in shape else ""
    return ", ".join([*_bounds(shape), *_text_limits(shape)])


def _bounds(shape: Mapping[str, Any]) -> Iterator[str]:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
    }
    for key, word in words.items():
        if key in shape:
            yield f"{word} {_number(shape[key])}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _text_limits(shape: Mapping[str, Any]) -> Iterator[str]:
    if "pattern" in shape:
        words = in_words({"type": "string_pattern_mismatch", "ctx": {"pattern": shape["pattern"]}})
        yield words.removeprefix("must be ")
    if "maxLength" in shape:
        yield f"at most {shape['maxLength']:,} characters"
