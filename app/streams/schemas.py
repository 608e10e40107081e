"""Hits of a search in a log as the API shows them."""

from __future__ import annotations

from pydantic import BaseModel


class LogHit(BaseModel):
    """A line that contains the text: the byte offset at which it begins, and its first 500 characters."""

    offset: int
    text: str


class LogSearch(BaseModel):
    """Lines in order. `next_after` is where to go on; null once the end of the log, of `size` bytes, is reached."""

    attempt: int
    hits: list[LogHit]
    next_after: int | None
    size: int
