"""The SQL of tokens, browser sessions and login links."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, func
from sqlmodel import Session, col, select

from app.db import now
from app.models import BrowserSession, LoginLink, Role, Token


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


def list_valid_hashes(session: Session, limit: int = 5_000) -> list[str]:
    """The hashes of the tokens, sessions and login links that are valid, of each those that last longest."""
    return [
        sha256
        for table in (Token, BrowserSession, LoginLink)
        for sha256 in session.exec(
            select(table.sha256)
            .where(col(table.expires_at).is_(None) | (col(table.expires_at) > now()))
            .order_by(col(table.expires_at).desc().nulls_first())
            .limit(limit)
        )
    ]


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


_BY_SESSION = (
    select(Token.id, Token.owner, Token.role, Token.expires_at)
    .join(BrowserSession, col(BrowserSession.token_id) == col(Token.id))
    .where(col(BrowserSession.sha256) == bindparam("sha256"), col(BrowserSession.expires_at) > bindparam("now"))
)


def find_by_session(connection: Connection, sha256: str, at: datetime) -> TokenRow | None:
    """The token of the session with this hash, unless the session has expired; None if there is none."""
    row = connection.execute(_BY_SESSION, {"sha256": sha256, "now": at}).first()
    return None if row is None else TokenRow(*row)


def insert_session(session: Session, sha256: str, token_id: str, expires_at: datetime) -> None:
    """Store a browser session."""
    session.add(BrowserSession(sha256=sha256, token_id=token_id, expires_at=expires_at))


def delete_session(session: Session, sha256: str) -> None:
    """Delete a browser session, if it exists."""
    session.execute(delete(BrowserSession).where(col(BrowserSession.sha256) == sha256))


def insert_link(session: Session, sha256: str, token_id: str, expires_at: datetime) -> None:
    """Store a login link."""
    session.add(LoginLink(sha256=sha256, token_id=token_id, expires_at=expires_at))


def take_link(session: Session, sha256: str) -> str | None:
    """Delete a login link and give its token; None if it does not exist or has expired.

    Of two requests at once only one gets the token.
    """
    statement = delete(LoginLink).where(col(LoginLink.sha256) == sha256, col(LoginLink.expires_at) > now())
    row = session.execute(statement.returning(col(LoginLink.token_id))).first()
    return None if row is None else str(row[0])


def delete_expired_logins(session: Session) -> None:
    """Delete sessions and links that have expired."""
    for table in (BrowserSession, LoginLink):
        session.execute(delete(table).where(col(table.expires_at) <= now()))
