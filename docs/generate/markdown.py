"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a cell may hold any inline Markdown on one line."""
    lines = [list(header), ["---"] * len(header), *(list(map(_cell, row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(value: object) -> str:
    """Text in code style."""
    return f"`{value}`"


def codes(values: Iterable[object], separator: str = ", ") -> str:
    """Several values in code style."""
    return separator.join(map(code, values))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
