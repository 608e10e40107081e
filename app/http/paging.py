"""Cursors: opaque to clients, the place after which a list goes on."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

from app.http.errors import Invalid

Limit = Annotated[int, Query(ge=1, le=200, description="items at most")]
Cursor = Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before")]


def encode(*place: Any) -> str:
    """A cursor for a place in a sorted list."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def decode(cursor: str, kinds: Sequence[type]) -> list[Any]:
    """The place that a cursor stands for; raises Invalid for one that this list did not give."""
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        place = None
    if (
        not isinstance(place, list)
        or len(place) != len(kinds)
        or not all(type(value) is kind for value, kind in zip(place, kinds, strict=True))
        or any(isinstance(value, str) and ("\0" in value or not value.isprintable()) for value in place)
        or any(isinstance(value, int) and abs(value) >= 2**62 for value in place)
    ):
        raise Invalid("cursor: take it from `next_cursor` of this list's page before, with the same sort")
    return place


def page(items: list[Any], limit: int, place: Any) -> dict[str, Any]:
    """A page of a list that was read with one item more than the limit; `place` makes an item's cursor."""
    more = len(items) > limit
    shown = items[:limit]
    return {"items": shown, "next_cursor": place(shown[-1]) if more and shown else None}
