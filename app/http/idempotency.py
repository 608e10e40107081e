"""Idempotency keys: a repeated request with the same key and body returns what the first one created."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, TypeVar

from fastapi import Header
from sqlmodel import Session, col, select

from app.db import lock_name
from app.http.errors import IdempotencyMismatch
from app.http.patterns import IDEMPOTENCY_KEY
from app.models import Job, Sweep

Created = TypeVar("Created", Job, Sweep)


IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=200, pattern=IDEMPOTENCY_KEY, description="printable ASCII; a repeated request finds the first one"
    ),
]


def find_created(session: Session, table: type[Created], owner: str, key: str | None, body: bytes) -> Created | None:
    """The job or sweep that the owner created with this key; IdempotencyMismatch if the body was a different one."""
    if key is None:
        return None
    # Of two simultaneous requests with the same key, the second waits here for the first.
    lock_name(session, f"idempotency {owner} {key}")
    query = select(table).where(col(table.owner) == owner, col(table.idempotency_key) == key)
    before = session.exec(query).first()
    if before is not None and before.body_sha256 != _sha256(body):
        raise IdempotencyMismatch(f"this key created {before.id} with a different body: use a new key")
    return before


def columns(key: str | None, body: bytes) -> dict[str, Any]:
    """The columns of a row that identify the request that created it."""
    return {} if key is None else {"idempotency_key": key, "body_sha256": _sha256(body)}


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
