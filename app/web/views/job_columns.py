"""The columns of the list of jobs: which are shown, their headings, and the orders that these offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.jobs.list_queries import SortName

# Columns that a person can choose, with their headings; the name is always there.
COLUMNS = {
    "progress": "Progress",
    "eta": "Time left",
    "best": "Best validation accuracy",
    "last": "Last validation accuracy",
    "curve": "Validation curve",
    "attempts": "Attempts",
    "priority": "Priority",
    "owner": "Owner",
    "tags": "Tags",
    "age": "Created",
}
DEFAULT_COLUMNS = ("progress", "eta", "best", "curve", "owner", "age")
NUMBERS = ("eta", "best", "last", "attempts", "priority", "age")
DEFAULT_SORT: SortName = "-created_at"
# The orders that a column offers, first the one that a list in another order changes to.
ORDERS: dict[str, tuple[SortName, ...]] = {
    "name": ("name", "-name"),
    "best": ("-score",),
    "priority": ("-priority", "priority"),
    "age": ("-created_at", "created_at"),
}


@dataclass(frozen=True)
class Header:
    """A column's heading. `order` is what it offers to sort by, `sorted` how the list is sorted by it, as in ARIA."""

    heading: str
    is_number: bool
    order: SortName | None
    sorted: Literal["ascending", "descending"] | None


def columns_of(chosen: Sequence[str], sort: SortName) -> list[str]:
    """The columns that are shown: the chosen or usual ones, and the one that decides the order."""
    chosen = chosen or DEFAULT_COLUMNS
    decides = [name for name, orders in ORDERS.items() if sort != DEFAULT_SORT and sort in orders]
    return [name for name in COLUMNS if name in chosen or name in decides]


def headers(columns: Sequence[str], sort: SortName) -> list[Header]:
    """The headings of the name and of these columns."""
    return [_header(name, COLUMNS.get(name, "Name"), sort) for name in ("name", *columns)]


def _header(name: str, heading: str, sort: SortName) -> Header:
    orders = ORDERS.get(name, ())
    order = next((other for other in orders if other != sort), None)
    direction: Literal["ascending", "descending"] = "descending" if sort.startswith("-") else "ascending"
    return Header(heading, name in NUMBERS, order, direction if sort in orders else None)
