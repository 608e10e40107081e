"""The routes of tokens."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

from fastapi import APIRouter, Path

from app.auth import queries, service, sessions
from app.auth.principals import Member, Viewer
from app.auth.schemas import CreatedToken, LoginLinkView, Me, NewToken, TokenPage, TokenView
from app.auth.throttle import Throttled
from app.http.session import Configured, Reading, Writing
from app.models import Role

router = APIRouter(tags=["tokens"])


@router.get("/me")
def get_me(principal: Viewer) -> Me:
    """Show the owner and role of your token."""
    return Me(owner=principal.owner, role=principal.role.value, token_id=principal.token_id)


@router.get("/tokens")
def get_tokens(principal: Viewer, session: Reading) -> TokenPage:
    """List your tokens; admins see everybody's."""
    owner = None if principal.role is Role.admin else principal.owner
    return TokenPage(items=[TokenView.of(row) for row in queries.list_tokens(session, owner)])


@router.post("/tokens", status_code=201)
def post_token(new: NewToken, principal: Member, session: Writing, throttle: Throttled) -> CreatedToken:
    """Create a token. Members create tokens for themselves, with their own role or a lower one; admins create any.

    The token expires no later than yours and is revoked together with it. An owner has at most 100 tokens.
    """
    expires_at = None if new.expires_at is None else new.expires_at.astimezone(UTC)
    row, secret = service.create_token(
        session, principal, name=new.name, owner=new.owner, role=Role(new.role), expires_at=expires_at
    )
    throttle.trust(secret)
    return CreatedToken.of(row, token=secret)


@router.delete("/tokens/{token_id}", status_code=204)
def delete_token(token_id: Annotated[str, Path(max_length=64)], principal: Member, session: Writing) -> None:
    """Revoke a token and all tokens that were created with it. Its role may not be above yours."""
    service.revoke_token(session, principal, token_id)


@router.post("/login-links", status_code=201)
def post_login_link(principal: Viewer, session: Writing, settings: Configured, throttle: Throttled) -> LoginLinkView:
    """Create a link that logs a browser into the dashboard as you. It works once, within ten minutes."""
    code = sessions.create_link(session, principal.token_id)
    throttle.trust(code)
    lifetime = int(sessions.LINK_LIFETIME.total_seconds())
    return LoginLinkView(url=f"{settings.browser_url}/login/once/{code}", expires_in_s=lifetime)
