"""Cells of the CSV files that the service writes."""

from __future__ import annotations

# Spreadsheets evaluate text that begins with one of these as a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(value: object) -> str:
    """A value as the text of a CSV cell, to be passed to `csv.writer`; None is empty, floats keep every digit.

    Text that a spreadsheet would take for a formula gets an apostrophe in front. Numbers are left as they are.
    """
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return str(value)
