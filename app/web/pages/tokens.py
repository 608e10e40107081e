"""The page of tokens: who may use the service."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Form, Request
from sqlmodel import Session
from starlette.responses import RedirectResponse, Response

from app.auth import queries, service
from app.auth.principals import Member, Principal, Viewer
from app.auth.schemas import Name, RoleName, TokenView
from app.auth.throttle import Throttled
from app.db import now
from app.http.session import Configured, Reading, Writing
from app.models import Role
from app.settings import Settings
from app.web.render import page
from app.web.routing import page_router

router = page_router(prefix="/ui/tokens")
ROLE_ABOUT = {
    Role.viewer: "reads everything",
    Role.member: "reads everything, submits jobs and changes their own",
    Role.admin: "changes everything, also what belongs to others",
}


@router.get("")
def tokens_page(request: Request, principal: Viewer, session: Reading, settings: Configured) -> Response:
    """The tokens that this person may see."""
    return _page(request, principal, session, settings)


def _page(
    request: Request,
    principal: Principal,
    session: Session,
    settings: Settings,
    created: dict[str, str] | None = None,
) -> Response:
    owner = None if principal.role is Role.admin else principal.owner
    tokens = [TokenView.of(row) for row in queries.list_tokens(session, owner)]
    roles = [role.value for role in Role if principal.role.includes(role)]
    return page(
        request,
        "tokens/tokens.html",
        tokens=tokens,
        roles=roles,
        role_about=ROLE_ABOUT,
        # A token cannot outlive the one that creates it.
        expires_at=next((token.expires_at for token in tokens if token.id == principal.token_id), None),
        created=created,
        url=settings.browser_url,
    )


@router.post("")
def create(
    request: Request,
    principal: Member,
    session: Writing,
    settings: Configured,
    throttle: Throttled,
    name: Annotated[Name, Form()],
    role: Annotated[RoleName, Form()],
    days: Annotated[int | None, Form(ge=1, le=3650)] = None,
    owner: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Create a token and show it, this once."""
    expires_at = None if days is None else now() + timedelta(days=days)
    _, secret = service.create_token(
        session, principal, name=name, owner=owner.strip() or None, role=Role(role), expires_at=expires_at
    )
    session.flush()
    throttle.trust(secret)
    return _page(request, principal, session, settings, created={"name": name, "secret": secret})


@router.post("/revoke")
def revoke(principal: Member, session: Writing, token: Annotated[str, Form(max_length=64)]) -> Response:
    """Revoke a token and those that it created."""
    service.revoke_token(session, principal, token)
    return RedirectResponse("/ui/tokens", 303)
