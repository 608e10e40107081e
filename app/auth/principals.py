"""Bearer tokens: who asks, and whether they may."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from sqlalchemy import bindparam
from sqlmodel import Session, col, select
from ulid import ULID

from app.db import now
from app.http.errors import Forbidden, Unauthenticated
from app.models import Role, Token

PREFIX = "mcn_"
ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """Who asks: the token, its owner and its role."""

    token_id: str
    owner: str
    role: Role


def new_token(
    session: Session, *, name: str, owner: str, role: Role, expires_at: datetime | None = None
) -> tuple[Token, str]:
    """Stores a token; gives its row and, this once, its secret."""
    secret = PREFIX + secrets.token_urlsafe(32)
    row = Token(
        id=f"tok_{ULID()}", name=name, owner=owner, role=role.value, sha256=_sha256(secret), expires_at=expires_at
    )
    session.add(row)
    return row, secret


def ensure_admin(session: Session, file: Path) -> None:
    """On the first start, makes the user `admin` and writes its token into a file for the owner alone."""
    secret = file.read_text().strip() if file.exists() else ""
    if secret and session.exec(select(Token).where(col(Token.sha256) == _sha256(secret))).first():
        return
    _, secret = new_token(session, name="admin-token", owner=ADMIN, role=Role.admin)
    session.flush()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        os.fchmod(descriptor, 0o600)
        out.write(secret + "\n")


def identify(session: Session, header: str | None) -> Principal:
    """The principal of an Authorization header; raises Unauthenticated."""
    secret = _secret(header)
    if secret is None:
        raise Unauthenticated("send your token as `Authorization: Bearer mcn_..`", headers=_CHALLENGE)
    found = session.connection().execute(_TOKEN, {"sha256": _sha256(secret)}).first()
    if found is None:
        raise Unauthenticated("this token is not known: it may have been revoked", headers=_CHALLENGE)
    token_id, owner, role, expires_at = found
    if expires_at is not None and expires_at <= now():
        raise Unauthenticated("this token has expired: ask an admin for another", headers=_CHALLENGE)
    return Principal(token_id, owner, Role(role))


# Built once: every request asks it.
_TOKEN = select(Token.id, Token.owner, Token.role, Token.expires_at).where(col(Token.sha256) == bindparam("sha256"))
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="mcn"'}
# A browser asks for a user and a password: any name will do, the password is the token.
BROWSER_CHALLENGE = {"WWW-Authenticate": 'Basic realm="mcn: any name, the token as password"'}


def _secret(header: str | None) -> str | None:
    kind, _, value = (header or "").partition(" ")
    value = value.strip()
    if kind.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return None
    elif kind.lower() != "bearer":
        return None
    return value if value.startswith(PREFIX) and value.isascii() else None


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def needs(role: Role) -> Callable[[Request], Principal]:
    """A dependency: the principal, who must have at least this role."""

    def principal(request: Request) -> Principal:
        with request.app.state.reading() as session:
            asks = identify(session, request.headers.get("authorization"))
        _check_site(request)
        if not asks.role.includes(role):
            raise Forbidden(f"this needs the role {role.value}; your token has the role {asks.role.value}")
        return asks

    return principal


def _check_site(request: Request) -> None:
    """Refuses what a page of another site has a browser send, which adds the password that it was once given."""
    origin = request.headers.get("origin")
    if origin is None or request.method in ("GET", "HEAD"):
        return
    by_password = request.headers.get("authorization", "").lower().startswith("basic")
    if by_password and urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden("a page of another site sent this: programs send `Authorization: Bearer mcn_..`")


Viewer = Annotated[Principal, Depends(needs(Role.viewer))]
Member = Annotated[Principal, Depends(needs(Role.member))]


def may_change(asks: Principal, owner: str) -> None:
    """Raises Forbidden unless it is theirs or they are an admin."""
    if asks.role is not Role.admin and asks.owner != owner:
        raise Forbidden(f"this belongs to {owner}: only {owner} and admins may change it")


def redacted(row: Token) -> dict[str, Any]:
    """A token as lists show it: never its secret."""
    from app.db import iso

    return {
        "id": row.id,
        "name": row.name,
        "owner": row.owner,
        "role": row.role,
        "created_at": iso(row.created_at),
        "expires_at": iso(row.expires_at),
    }
