"""Specifications from files and standard input, and overrides by `--set`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.terminal import fail
from core.spec import SpecError, read_mapping
from core.spec.load import apply_override

SpecFile = Annotated[str, typer.Argument(metavar="FILE", help="A JSON or YAML file, or - for standard input.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="PATH=VALUE", help="Set a field, for example training.epochs=3.")
]

ApplyOverride = Callable[[dict[str, Any], str], None]


def read_spec_file(file: str, overrides: list[str], apply: ApplyOverride = apply_override) -> dict[str, Any]:
    """The mapping in a file (`-`: standard input) with overrides applied; exits with 2 if it is not usable."""
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        spec = read_mapping(text)
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", 2)
    except SpecError as error:
        fail(f"{file}: {error}", 2)
    return with_overrides(spec, overrides, apply)


def with_overrides(spec: dict[str, Any], overrides: list[str], apply: ApplyOverride = apply_override) -> dict[str, Any]:
    """The specification, changed in place by each `path=value`; exits with 2 if one is not usable."""
    try:
        for override in overrides:
            apply(spec, override)
    except SpecError as error:
        fail(str(error), 2)
    return spec


def encode_spec(spec: dict[str, Any]) -> bytes:
    """A request body; exits with 2 if the specification holds something that JSON does not have, such as NaN."""
    try:
        return json.dumps(spec, allow_nan=False).encode()
    except (TypeError, ValueError):
        path, value = next(_not_json(spec, ""))
        fail(f"{path} is {value}, which JSON does not have: give a finite number, or put text in quotes", 2)


def _not_json(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """What JSON does not have, with where it is."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _not_json(key, f"the name of a field{path and ' in '}{path}")
            yield from _not_json(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_json(item, f"{path}[{index}]")
    elif (isinstance(value, float) and not math.isfinite(value)) or not isinstance(value, str | int | float | None):
        yield path, value
