"""Browser sessions and one-time login links, both bound to a token. Nothing here commits."""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy import Engine
from sqlmodel import Session

from app.auth import queries
from app.auth.credentials import principal_of, sha256_of
from app.auth.principals import Principal
from app.db import now, read_engine
from app.http.errors import Unauthenticated

COOKIE = "mcn_session"
SESSION_LIFETIME = timedelta(days=30)
LINK_LIFETIME = timedelta(minutes=10)


def cookie_name(*, secure: bool) -> str:
    """The name of the session cookie; with HTTPS a prefix makes browsers refuse it from anybody but this host."""
    return f"__Host-{COOKIE}" if secure else COOKIE


def create_link(session: Session, token_id: str) -> str:
    """Store a login link for a token; gives its code, which works once within `LINK_LIFETIME`."""
    queries.delete_expired_logins(session)
    code = secrets.token_urlsafe(16)
    queries.insert_link(session, sha256_of(code), token_id, now() + LINK_LIFETIME)
    return code


def use_link(session: Session, code: str) -> str:
    """The secret of a new session for the token of a login link; Unauthenticated if the link was used or expired."""
    token_id = queries.take_link(session, sha256_of(code))
    if token_id is None:
        raise Unauthenticated("this link has been used or has expired: run `mcn login` for another one")
    return open_session(session, token_id)


def open_session(session: Session, token_id: str) -> str:
    """Store a session for a token; gives its secret, the value of the cookie."""
    queries.delete_expired_logins(session)
    secret = secrets.token_urlsafe(32)
    queries.insert_session(session, sha256_of(secret), token_id, now() + SESSION_LIFETIME)
    return secret


def close_session(session: Session, secret: str) -> None:
    """Delete a session; its cookie is of no use any more."""
    queries.delete_session(session, sha256_of(secret))


def identify_session(engine: Engine, secret: str) -> Principal:
    """The principal of a session's token; Unauthenticated if the session or its token has ended."""
    with read_engine(engine).connect() as connection:
        row = queries.find_by_session(connection, sha256_of(secret), now())
    if row is None:
        raise Unauthenticated("this session has ended: log in again")
    return principal_of(row)
