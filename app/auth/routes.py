"""Tokens over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from sqlmodel import col, select

from app.auth.principals import Member, Viewer, new_token, redacted
from app.db import now
from app.http.errors import Conflict, Forbidden, Invalid, NotFound
from app.http.session import Reading, Writing
from app.models import Role, Token
from core.spec.fields import ONE_LINE

router = APIRouter(tags=["tokens"])
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=ONE_LINE)]
RoleName = Literal["viewer", "member", "admin"]


class Me(BaseModel):
    """Who the token stands for."""

    owner: str
    role: RoleName
    token_id: str


class TokenView(BaseModel):
    """A token, without its secret."""

    id: str
    name: str
    owner: str
    role: RoleName
    created_at: str
    expires_at: str | None


class TokenPage(BaseModel):
    """Tokens."""

    items: list[TokenView]
    next_cursor: str | None = None


class NewToken(BaseModel):
    """A token to make. `owner` is whose jobs it may change; without it, yours."""

    model_config = ConfigDict(strict=True, extra="forbid")
    name: Name
    role: RoleName = "member"
    owner: Name | None = None
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None = None


class MadeToken(TokenView):
    """A new token: the secret is shown this once."""

    token: str


@router.get("/me", response_model=Me)
def get_me(asks: Viewer) -> Any:
    """Who you are."""
    return {"owner": asks.owner, "role": asks.role.value, "token_id": asks.token_id}


@router.get("/tokens", response_model=TokenPage)
def get_tokens(asks: Viewer, session: Reading) -> Any:
    """Your tokens; all of them for admins."""
    query = select(Token).order_by(col(Token.id))
    if asks.role is not Role.admin:
        query = query.where(Token.owner == asks.owner)
    return {"items": [redacted(row) for row in session.exec(query)], "next_cursor": None}


@router.post("/tokens", status_code=201, response_model=MadeToken)
def post_token(asked: NewToken, asks: Member, session: Writing) -> Any:
    """Make a token. Members make some for themselves, of their own role or a lower one; admins any."""
    role = Role(asked.role)
    owner = asked.owner or asks.owner
    if asks.role is not Role.admin and (owner != asks.owner or not asks.role.includes(role)):
        raise Forbidden("members make tokens for themselves, of the role member or viewer: ask an admin for others")
    expires_at = None
    if asked.expires_at is not None:
        expires_at = asked.expires_at.astimezone(UTC)
        if expires_at <= now():
            raise Invalid(f"expires_at: it is {datetime.now(UTC).isoformat(timespec='seconds')} now; give a later time")
    row, secret = new_token(session, name=asked.name, owner=owner, role=role, expires_at=expires_at)
    return redacted(row) | {"token": secret}


@router.delete("/tokens/{token_id}", status_code=204)
def delete_token(token_id: Annotated[str, Path(max_length=64)], asks: Member, session: Writing) -> None:
    """Revoke a token: it is refused from now on."""
    row = session.get(Token, token_id) if token_id.isascii() and "\0" not in token_id else None
    if row is None or (asks.role is not Role.admin and row.owner != asks.owner):
        raise NotFound(f"there is no token {token_id[:64]!r}: `GET /tokens` lists yours")
    admins = select(Token).where(Token.role == Role.admin.value, Token.id != token_id)
    if row.role == Role.admin.value and session.exec(admins.limit(1)).first() is None:
        raise Conflict("this is the last admin token: make another first")
    session.delete(row)
