"""From an Authorization header to a principal."""

from __future__ import annotations

import hashlib

from sqlalchemy import Engine

from app.auth import queries
from app.auth.principals import Principal
from app.db import now, read_engine
from app.http.errors import Unauthenticated
from app.models import Role

TOKEN_PREFIX = "mcn_"


def sha256_of(secret: str) -> str:
    """The form in which a token's secret is stored."""
    return hashlib.sha256(secret.encode()).hexdigest()


def read_secret(header: str | None) -> str | None:
    """The token in `Bearer mcn_..`; None if there is none."""
    scheme, _, value = (header or "").partition(" ")
    value = value.strip()
    if scheme.lower() != "bearer":
        return None
    return value if value.startswith(TOKEN_PREFIX) and value.isascii() else None


def identify(engine: Engine, secret: str) -> Principal:
    """The principal of a token; Unauthenticated if it is unknown or expired."""
    with read_engine(engine).connect() as connection:
        row = queries.find_by_sha256(connection, sha256_of(secret))
    if row is None:
        raise Unauthenticated("this token is unknown; it may have been revoked")
    return principal_of(row)


def principal_of(row: queries.TokenRow) -> Principal:
    """The principal of a stored token; Unauthenticated if it has expired."""
    if row.expires_at is not None and row.expires_at <= now():
        raise Unauthenticated("this token has expired: create another, or ask an admin for one")
    return Principal(row.id, row.owner, Role(row.role))
