"""Pages of lists: opaque cursors that hold the sort key of the last item of a page."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypedDict, TypeVar

from app.http.errors import Invalid, encodable

T = TypeVar("T")


class Page(TypedDict, Generic[T]):
    """One page of a list; `next_cursor` is null on the last one."""

    items: list[T]
    next_cursor: str | None


def encode(*key: Any) -> str:
    """A cursor for a sort key, which consists of strings and finite numbers."""
    return base64.urlsafe_b64encode(json.dumps(key, ensure_ascii=False).encode()).decode().rstrip("=")


def decode(cursor: str, types: Sequence[type]) -> list[Any]:
    """The sort key in a cursor, checked against the types of its parts; Invalid if this list never gave the cursor."""
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        key = None
    if (
        not isinstance(key, list)
        or len(key) != len(types)
        or not all(type(value) is expected for value, expected in zip(key, types, strict=True))
        or any(isinstance(value, str) and ("\0" in value or encodable(value) != value) for value in key)
        or any(isinstance(value, int | float) and not abs(value) < 2**62 for value in key)
    ):
        raise invalid_cursor()
    return key


def invalid_cursor() -> Invalid:
    """The error for a cursor that this list never gave."""
    return Invalid("cursor: not a valid cursor; take `next_cursor` of the previous page, with the same sort")


def page(rows: list[T], limit: int, cursor_of: Callable[[T], str]) -> Page[T]:
    """The first `limit` rows of a query that fetched up to `limit + 1`, with the cursor of the last one."""
    items = rows[:limit]
    return {"items": items, "next_cursor": cursor_of(items[-1]) if len(rows) > limit and items else None}
