"""The SQL of tokens."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, func
from sqlmodel import Session, col, select

from app.db import now
from app.models import Role, Token


class TokenRow(NamedTuple):
    """What authentication needs of a token."""

    id: str
    owner: str
    role: str
    expires_at: datetime | None


# Built once, since every request executes it.
_BY_SHA256 = select(Token.id, Token.owner, Token.role, Token.expires_at).where(col(Token.sha256) == bindparam("sha256"))


def find_by_sha256(connection: Connection, sha256: str) -> TokenRow | None:
    """The token with this hash; None if there is none."""
    row = connection.execute(_BY_SHA256, {"sha256": sha256}).first()
    return None if row is None else TokenRow(*row)


def find_token(session: Session, token_id: str, *, lock: bool = False) -> Token | None:
    """A token by its id, on request locked against deletion until the transaction ends."""
    if not token_id.isascii() or "\0" in token_id:
        return None
    return session.get(Token, token_id, with_for_update=lock or None)


def list_tokens(session: Session, owner: str | None) -> list[Token]:
    """The tokens of an owner, or of everybody, oldest first."""
    query = select(Token).order_by(col(Token.id))
    return list(session.exec(query if owner is None else query.where(Token.owner == owner)))


def count_tokens(session: Session, owner: str) -> int:
    """How many tokens an owner has."""
    return session.exec(select(func.count()).select_from(Token).where(Token.owner == owner)).one()


def delete_expired(session: Session, owner: str) -> None:
    """Delete the expired tokens of an owner; those that they created expired no later."""
    session.execute(delete(Token).where(col(Token.owner) == owner, col(Token.expires_at) <= now()))


def list_descendants(session: Session, token_id: str) -> set[str]:
    """The ids of a token and of all tokens that it created, directly or not."""
    tree = select(Token.id).where(Token.id == token_id).cte(recursive=True)
    tree = tree.union_all(select(Token.id).join(tree, col(Token.parent_id) == tree.c.id))
    return set(session.exec(select(tree.c.id)))


def has_other_admin(session: Session, excluded: set[str]) -> bool:
    """Whether there is a valid admin token besides these."""
    valid = col(Token.expires_at).is_(None) | (col(Token.expires_at) > now())
    query = select(Token.id).where(Token.role == Role.admin.value, col(Token.id).not_in(excluded), valid)
    return session.exec(query.limit(1)).first() is not None


def delete_tokens(session: Session, token_ids: set[str]) -> None:
    """Delete tokens, and with them those that they created."""
    session.execute(delete(Token).where(col(Token.id).in_(token_ids)))
