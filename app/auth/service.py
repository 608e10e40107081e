"""Creating and revoking tokens. Nothing here commits: the owner of the session does."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from sqlmodel import Session
from ulid import ULID

from app.auth import queries
from app.auth.credentials import TOKEN_PREFIX, sha256_of
from app.auth.principals import Principal
from app.db import now
from app.http.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from app.models import Role, Token

ADMIN = "admin"
MAX_TOKENS_PER_OWNER = 100


def new_token(
    session: Session,
    *,
    name: str,
    owner: str,
    role: Role,
    expires_at: datetime | None = None,
    parent_id: str | None = None,
) -> tuple[Token, str]:
    """Store a token; returns its row and its secret, which cannot be recovered later."""
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    row = Token(
        id=f"tok_{ULID()}",
        name=name,
        owner=owner,
        role=role.value,
        sha256=sha256_of(secret),
        expires_at=expires_at,
        parent_id=parent_id,
    )
    session.add(row)
    return row, secret


def ensure_admin(session: Session, file: Path) -> None:
    """Unless the file holds a stored token, create one for the user `admin` and write it there with mode 600."""
    secret = file.read_text().strip() if file.exists() else ""
    if secret and queries.find_by_sha256(session.connection(), sha256_of(secret)):
        return
    _, secret = new_token(session, name="admin-token", owner=ADMIN, role=Role.admin)
    session.flush()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        os.fchmod(descriptor, 0o600)
        out.write(secret + "\n")


def create_token(
    session: Session, principal: Principal, *, name: str, owner: str | None, role: Role, expires_at: datetime | None
) -> tuple[Token, str]:
    """Create a token on behalf of another one, its parent, which bounds its expiry; returns its row and secret.

    Forbidden for an owner or role beyond the principal's, Invalid for an expiry in the past or after the parent's,
    Conflict if the owner has `MAX_TOKENS_PER_OWNER` already.
    """
    owner = owner or principal.owner
    if principal.role is not Role.admin and (owner != principal.owner or not principal.role.includes(role)):
        raise Forbidden("members create tokens for themselves, with the role member or viewer: ask an admin for others")
    parent = queries.find_token(session, principal.token_id, lock=True)
    if parent is None:
        raise Unauthenticated("this token has been revoked")
    if expires_at is None:
        expires_at = parent.expires_at
    elif expires_at <= now():
        raise Invalid(f"expires_at: must be later than now, {datetime.now(UTC).isoformat(timespec='seconds')}")
    elif parent.expires_at is not None and expires_at > parent.expires_at:
        limit = parent.expires_at.isoformat(timespec="seconds")
        raise Invalid(f"expires_at: must not be later than {limit}, when the token that you are using expires")
    queries.delete_expired(session, owner)
    if queries.count_tokens(session, owner) >= MAX_TOKENS_PER_OWNER:
        raise Conflict(f"{owner} has {MAX_TOKENS_PER_OWNER} tokens, the most allowed: revoke some with DELETE /tokens")
    return new_token(session, name=name, owner=owner, role=role, expires_at=expires_at, parent_id=parent.id)


def revoke_token(session: Session, principal: Principal, token_id: str) -> None:
    """Delete a token and all tokens that it created.

    NotFound for a token of another owner, Forbidden for a role above the principal's, Conflict if no admin token
    would remain.
    """
    row = queries.find_token(session, token_id)
    if row is None or (principal.role is not Role.admin and row.owner != principal.owner):
        raise NotFound(f"there is no token {token_id[:64]!r}: `mcn token list` or `GET /tokens` lists yours")
    if not principal.role.includes(Role(row.role)):
        raise Forbidden(f"this token has the role {row.role}, yours has {principal.role.value}: use one of that role")
    revoked = queries.list_descendants(session, token_id)
    if row.role == Role.admin.value and not queries.has_other_admin(session, revoked):
        raise Conflict(
            "no admin token would remain: to replace it, remove the file admin-token from the data folder, restart the "
            "service, which creates another one, and use that"
        )
    queries.delete_tokens(session, revoked)
