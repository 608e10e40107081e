"""API tokens."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field, SQLModel

from app.db import now
from app.models.columns import one_of
from app.models.roles import Role


class Token(SQLModel, table=True):
    """A bearer token, of which only the SHA-256 is kept."""

    __tablename__ = "tokens"
    __table_args__ = (one_of("role", Role),)
    id: str = Field(primary_key=True)
    name: str
    owner: str = Field(index=True)
    role: str
    sha256: str = Field(unique=True)
    created_at: datetime = Field(default_factory=now)
    expires_at: datetime | None = None
