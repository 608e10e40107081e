"""Cells of CSV files, safe to open in a spreadsheet."""

from __future__ import annotations

# A spreadsheet reads a cell that begins with one of these as a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(value: str) -> str:
    """A text cell; one that would be read as a formula is quoted with a leading apostrophe."""
    return f"'{value}" if value.startswith(FORMULA_STARTS) else value
