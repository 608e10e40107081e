"""Tokens and principals as clients send and see them."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from app.db import iso
from app.models import Token
from core.spec.fields import ONE_LINE

Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=ONE_LINE)]


def check_user(name: str) -> str:
    """The name of a user; raises ValueError for one that looks like another, or that no path of a URL can hold."""
    if name != name.strip():
        raise ValueError("must not begin or end with a space")
    if name in ("*", ".", ".."):
        raise ValueError("must not be *, . or ..: quotas use * for everyone")
    return name


UserName = Annotated[Name, AfterValidator(check_user)]
RoleName = Literal["viewer", "member", "admin"]


class Me(BaseModel):
    """The token that made the request."""

    owner: str
    role: RoleName
    token_id: str


class TokenView(BaseModel):
    """A token without its secret. `parent` is the token that created it."""

    id: str
    name: str
    owner: str
    role: RoleName
    created_at: str
    expires_at: str | None
    parent: str | None

    @classmethod
    def of(cls, row: Token, **more: str) -> Self:
        """The view of a row; `more` are further fields of a subclass."""
        shown = {name: getattr(row, name) for name in ("id", "name", "owner", "role")}
        times = {"created_at": iso(row.created_at), "expires_at": iso(row.expires_at)}
        return cls.model_validate({**shown, **times, "parent": row.parent_id, **more})


class TokenPage(BaseModel):
    """Tokens, oldest first."""

    items: list[TokenView]
    next_cursor: str | None = None


def _iso_time(value: object) -> object:
    """Refuses numbers, which would otherwise be read as seconds or, if large, as milliseconds."""
    if value is not None and not (isinstance(value, str) and re.match(r"\d{4}-\d{2}-\d{2}", value)):
        raise ValueError("must be an ISO 8601 time with a time zone, such as 2030-01-31T00:00:00Z")
    return value


class NewToken(BaseModel):
    """A token to create. `owner` defaults to yours and decides whose jobs the token may change."""

    model_config = ConfigDict(strict=True, extra="forbid")
    name: Name
    role: RoleName = "member"
    owner: UserName | None = None
    expires_at: Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_iso_time)] | None = None


class CreatedToken(TokenView):
    """A new token; `token` is its secret, which no other response contains."""

    token: str


class LoginLinkView(BaseModel):
    """A link that logs a browser into the dashboard once, as the token that asked for it."""

    url: str
    expires_in_s: int
