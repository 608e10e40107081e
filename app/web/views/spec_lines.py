"""A resolved specification as lines of YAML, each with whether it was given or defaulted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import yaml


class SpecLine(NamedTuple):
    """A line of YAML."""

    text: str
    is_default: bool


def spec_lines(spec: Mapping[str, Any], defaulted: Collection[str], *, given_only: bool = False) -> list[SpecLine]:
    """The lines of a specification; with `given_only` without the fields that were left out of the request."""
    lines = _mapping(spec, "", "", False, frozenset(defaulted))
    return [line for line in lines if not (given_only and line.is_default)]


def _mapping(
    values: Mapping[str, Any], path: str, indent: str, is_default: bool, defaulted: frozenset[str]
) -> list[SpecLine]:
    lines: list[SpecLine] = []
    for key, value in values.items():
        own = f"{path}{key}"
        default = is_default or own in defaulted
        if isinstance(value, Mapping) and value:
            lines.append(SpecLine(f"{indent}{key}:", default))
            lines += _mapping(value, f"{own}.", f"{indent}  ", default, defaulted)
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            lines.append(SpecLine(f"{indent}{key}:", default))
            for index, item in enumerate(value):
                lines += _item(item, f"{own}.{index}.", f"{indent}  ", default, defaulted)
        else:
            lines.append(SpecLine(f"{indent}{key}: {_scalar(value)}", default))
    return lines


def _item(item: Any, path: str, indent: str, is_default: bool, defaulted: frozenset[str]) -> list[SpecLine]:
    if not isinstance(item, Mapping) or not item:
        return [SpecLine(f"{indent}- {_scalar(item)}", is_default)]
    # The dash stands with the first line, which is a given one if there is any, so that it is always shown.
    items = dict(sorted(item.items(), key=lambda pair: f"{path}{pair[0]}" in defaulted))
    head, *lines = _mapping(items, path, f"{indent}  ", is_default, defaulted)
    return [SpecLine(f"{indent}- {head.text.lstrip()}", head.is_default), *lines]


def _scalar(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=2**30, allow_unicode=True)
    return text.strip().removesuffix("...").strip()
