"""Requests that are sent twice and done once: the same key and body find what the first one made."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, TypeVar

from fastapi import Header
from pydantic import AfterValidator
from sqlmodel import Session, col, select

from app.db import serialize_events
from app.http.errors import IdempotencyMismatch
from app.models import Job, Sweep

Made = TypeVar("Made", Job, Sweep)


def _printable(value: str | None) -> str | None:
    if value is not None and not value.isprintable():
        raise ValueError("give printable characters")
    return value


IdempotencyKey = Annotated[str | None, Header(max_length=200), AfterValidator(_printable)]


def made_before(session: Session, table: type[Made], owner: str, key: str | None, body: bytes) -> Made | None:
    """What an owner's request with this key made before; raises IdempotencyMismatch if it had another body."""
    if key is None:
        return None
    # Of two requests at once with one key the second waits here for the first.
    serialize_events(session)
    query = select(table).where(col(table.owner) == owner, col(table.idempotency_key) == key)
    before = session.exec(query).first()
    if before is not None and before.body_sha256 != _sha256(body):
        raise IdempotencyMismatch(f"the key made {before.id} with another body: use a new key for a new request")
    return before


def columns(key: str | None, body: bytes) -> dict[str, Any]:
    """What a row holds of the request that made it."""
    return {} if key is None else {"idempotency_key": key, "body_sha256": _sha256(body)}


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
