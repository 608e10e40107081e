"""Specifications as text: YAML or JSON, the fields that were given, and the commands that submit it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Mapping
from typing import Any

import yaml

from core.spec import Schedule, SpecError
from core.spec.load import FieldError, read_mapping


class _Dumper(yaml.SafeDumper):
    """YAML that the reader of specifications reads as the same values."""


# The reader takes 1e-4 for a number, so that a text of that form has to be quoted.
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
_Dumper.add_representer(float, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", _float(value)))


def _float(value: float) -> str:
    text = json.dumps(value)
    return text if re.search("[.eE]", text) else f"{text}.0"


def to_yaml(data: Mapping[str, Any]) -> str:
    """Plain data as YAML, in its own order."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def to_text(data: Mapping[str, Any], like: str = "") -> str:
    """Plain data as JSON if `like` is JSON, otherwise as YAML."""
    return json.dumps(data, indent=2, ensure_ascii=False) if like.lstrip().startswith("{") else to_yaml(data)


def read_text(text: str) -> dict[str, Any]:
    """The mapping in a text; raises SpecError, for what JSON cannot represent too."""
    data = read_mapping(text.encode("utf-8", "replace"))
    try:
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise SpecError([FieldError((), "has a value that JSON cannot represent", "")]) from None
    return data


def given_fields(spec: Mapping[str, Any], defaulted: Collection[str]) -> dict[str, Any]:
    """What was given of a stored specification, which is resolved; equal experts become one with their number."""
    experts = spec.get("experts")
    given: dict[str, Any] = _without(spec, frozenset(defaulted), "") or {}
    if isinstance(experts, list) and len(experts) > 1 and all(expert == experts[0] for expert in experts):
        given["experts"] = given["experts"][:1]
        given["num_experts"] = len(experts)
    return given


_SCHEDULE = Schedule().model_dump(mode="json")


def _without(node: Any, defaulted: frozenset[str], path: str) -> Any:
    if isinstance(node, Mapping):
        kept = {}
        for key, child in node.items():
            inner = f"{path}.{key}" if path else str(key)
            value = None if inner in defaulted else _without(child, defaulted, inner)
            if value is not None and not (path.endswith(".schedule") and key != "type" and value == _SCHEDULE.get(key)):
                kept[key] = value
        return kept or None
    if isinstance(node, list) and any(isinstance(child, Mapping) for child in node):
        return [_without(child, defaulted, f"{path}.{position}") or {} for position, child in enumerate(node)]
    return node


def commands(base_url: str, path: str, spec: Mapping[str, Any], program: str) -> dict[str, str]:
    """Lines for a shell that submit a specification: with curl, and with the command line program."""
    text = shlex.quote(json.dumps(spec, ensure_ascii=False))
    header = '-H "Authorization: Bearer $MCN_TOKEN"'
    return {
        "curl": f"curl -X POST {base_url}{path} {header} -H 'Content-Type: application/json' -d {text}",
        "mcn": f"echo {text} | mcn {program} -",
    }
