"""The table of API tokens."""

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
