"""API tokens, browser sessions, and one-time login links."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field, SQLModel

from app.db import now
from app.models.columns import one_of
from app.models.roles import Role


class Token(SQLModel, table=True):
    """A bearer token, of which only the SHA-256 is stored.

    `parent_id` is the token that created it. A token never outlives its parent: it expires no later, and the database
    deletes it together with the parent.
    """

    __tablename__ = "tokens"
    __table_args__ = (one_of("role", Role),)
    id: str = Field(primary_key=True)
    name: str
    owner: str = Field(index=True)
    role: str
    sha256: str = Field(unique=True)
    created_at: datetime = Field(default_factory=now)
    expires_at: datetime | None = None
    parent_id: str | None = Field(default=None, foreign_key="tokens.id", ondelete="CASCADE", index=True)


class BrowserSession(SQLModel, table=True):
    """A dashboard session, of whose cookie only the SHA-256 is stored. It ends with its token."""

    __tablename__ = "sessions"
    sha256: str = Field(primary_key=True)
    token_id: str = Field(foreign_key="tokens.id", ondelete="CASCADE", index=True)
    created_at: datetime = Field(default_factory=now)
    expires_at: datetime


class LoginLink(SQLModel, table=True):
    """A one-time login link, of whose code only the SHA-256 is stored. Using it deletes it."""

    __tablename__ = "login_links"
    sha256: str = Field(primary_key=True)
    token_id: str = Field(foreign_key="tokens.id", ondelete="CASCADE", index=True)
    expires_at: datetime
