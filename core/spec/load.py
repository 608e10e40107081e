"""Parses a specification, and reports mistakes as errors that say what to change."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml
from pydantic import ValidationError

from core.spec.fields import FIELD, in_words
from core.spec.impossible_fields import impossible_fields
from core.spec.jobs import KINDS, JobSpec
from core.spec.training_only_fields import fields_without_effect

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
# Errors reported for one specification.
MAX_ERRORS = 50
_INDEX = re.compile(r"[0-9]{1,4}")
_MUST_BE = "must be "


@dataclass(frozen=True)
class FieldError:
    """One mistake: its location, a message, and the start of the invalid value (empty: not shown)."""

    loc: tuple[str | int, ...]
    msg: str
    input: str

    def __str__(self) -> str:
        field = ".".join(str(part) for part in self.loc) or "the specification"
        return f"{field}: {self.msg}" + (f" (given: {self.input})" if self.input else "")


class SpecError(ValueError):
    """An invalid specification; `errors` has one entry per mistake."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(str(error) for error in self.errors))


def parse_spec(data: object) -> JobSpec:
    """Parses a job specification from plain data (dicts, lists, strings, numbers); raises SpecError.

    Fields that would have no effect in this kind of job are errors, and so are those with which it cannot start.
    """
    spec = parse_any_version(data)
    unused = "an evaluate job does not train, so this would have no effect: remove it"
    errors = [FieldError(path, unused, "") for path in fields_without_effect(spec)]
    errors += [FieldError(path, message, "") for path, message in impossible_fields(spec)]
    if errors:
        raise SpecError(errors)
    return spec


def parse_any_version(data: object) -> JobSpec:
    """Parses a specification as `parse_spec` does, but accepts what only later versions of the program refuse."""
    if not isinstance(data, Mapping):
        raise SpecError([FieldError((), f"must be an object with a kind ({', '.join(KINDS)})", _short(data))])
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        text = _short(kind) if "kind" in data else "nothing"
        raise SpecError([FieldError(("kind",), f"choose one of {', '.join(KINDS)}", text)])
    try:
        text = json.dumps(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError([FieldError((), f"must be plain JSON data: {error}", "")]) from None
    try:
        # From JSON, a strict model accepts a list for a tuple but still refuses "3" for 3.
        return KINDS[kind].model_validate_json(text)
    except ValidationError as error:
        raise SpecError(_field_errors(error)) from None


def parse_text(text: str | bytes, overrides: Sequence[str] = ()) -> JobSpec:
    """Parses JSON or YAML text, with overrides such as `training.epochs=3`; raises SpecError."""
    data = read_mapping(text)
    for override in overrides:
        apply_override(data, override)
    return parse_spec(data)


def read_mapping(text: str | bytes) -> dict[str, Any]:
    """Reads JSON or YAML text that holds a mapping; raises SpecError."""
    if len(text) > MAX_BYTES:
        raise SpecError([FieldError((), f"is {len(text):,} bytes long; at most {MAX_BYTES:,} are allowed", "")])
    try:
        data = yaml.load(text.decode() if isinstance(text, bytes) else text, Loader=_PlainLoader)
    except Exception as error:  # YAML's constructors raise many types of errors
        raise SpecError([FieldError((), f"is neither JSON nor YAML: {_one_line(error)}", "")]) from None
    if not isinstance(data, dict):
        raise SpecError([FieldError((), "must be an object such as {name: value, ..}", _short(data))])
    return data


class _PlainLoader(yaml.SafeLoader):
    """YAML without deep nesting and without aliases, by which a small text can expand into a huge one."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not supported")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested more than {MAX_DEPTH} levels deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        counts = Counter(key.value for key, _ in node.value if isinstance(key.value, str))
        repeated = sorted(key for key, count in counts.items() if count > 1)
        if repeated:
            raise yaml.YAMLError(f"{', '.join(repeated)} is given twice")
        return super().construct_mapping(node, deep)


# YAML 1.1 reads 2024-01-01 as a date, 010 as eight and 1:30 as ninety; nobody means that in a specification.
_REPLACED = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in _PlainLoader.yaml_implicit_resolvers.items()
}
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
# YAML 1.1 also reads 1e-4 as a string; users mean the number.
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^([-+]?([0-9]+\.[0-9_]*([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(inf|Inf|INF))"
        r"|\.(nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def apply_override(data: dict[str, Any], override: str) -> None:
    """Applies an override such as `training.epochs=3`; raises SpecError."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise SpecError([FieldError(("--set",), "write path=value, for example training.epochs=3", _short(override))])
    try:
        value = yaml.load(text, Loader=_PlainLoader)
    except Exception as error:  # as in read_mapping
        raise SpecError([FieldError(("--set", path), f"cannot be read: {_one_line(error)}", _short(text))]) from None
    set_value(data, path, value)


def set_value(data: dict[str, Any], path: str, value: Any, *, origin: str = "--set") -> None:
    """Sets one value of a specification by its path, such as `experts.0.arch`; raises SpecError.

    Missing objects along the path are created; parsing later refuses fields that do not exist. `origin` is the option
    or field of the request that errors name.
    """
    *parents, last = path.split(".")
    container: Any = data
    for part in parents:
        if isinstance(container, list) and _INDEX.fullmatch(part) and int(part) < len(container):
            container = container[int(part)]
        elif isinstance(container, dict):
            container = container.setdefault(part, {})
        else:
            raise SpecError([FieldError((origin, path), f"there is nothing at {part!r} to set a value in", "")])
    if isinstance(container, list) and _INDEX.fullmatch(last) and int(last) < len(container):
        container[int(last)] = value
    elif isinstance(container, dict):
        container[last] = value
    else:
        raise SpecError(
            [FieldError((origin, path), f"{last!r} is not a field of an object or an existing list entry", "")]
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _short(value: object) -> str:
    try:
        text = json.dumps(value, default=str)
    except (ValueError, RecursionError):
        text = repr(type(value).__name__)
    return text if len(text) <= 80 else text[:77] + "..."


def _field_errors(error: ValidationError) -> list[FieldError]:
    entries = error.errors(include_url=False)
    locs = [_field_loc((*entry["loc"], *entry.get("ctx", {}).get(FIELD, ()))) for entry in entries]
    # Where a value may be of several types, an error deeper in it says more than that it is not of another type.
    outer = {loc[:length] for loc in locs for length in range(1, len(loc))}
    kept = _joined(_field_error(entry, loc) for entry, loc in zip(entries, locs, strict=True) if loc not in outer)
    errors = kept[:MAX_ERRORS]
    if len(kept) > MAX_ERRORS:
        errors.append(FieldError((), f"there are {len(kept) - MAX_ERRORS:,} more errors", ""))
    return errors


def _joined(errors: Iterable[FieldError]) -> list[FieldError]:
    """The errors, with one for each field that may be of several types instead of one for each of the types."""
    joined: list[FieldError] = []
    for error in errors:
        last = joined[-1] if joined else None
        if last and last.loc == error.loc and last.msg.startswith(_MUST_BE) and error.msg.startswith(_MUST_BE):
            joined[-1] = replace(last, msg=f"{last.msg}, or {error.msg.removeprefix(_MUST_BE)}")
        else:
            joined.append(error)
    return joined


def _field_loc(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The path of a field: pydantic adds the name of the union member that it tried."""
    return tuple(part for part in loc if isinstance(part, int) or not _is_branch(part))


def _field_error(entry: Any, loc: tuple[str | int, ...]) -> FieldError:
    whole = entry["type"] in ("missing", "value_error") and isinstance(entry["input"], dict)
    hidden = whole or entry["type"] == "extra_forbidden"
    return FieldError(loc, in_words(entry), "" if hidden else _short(entry["input"]))


def _is_branch(part: str) -> bool:
    return "[" in part or part[:1].isupper() or part == "bool"
