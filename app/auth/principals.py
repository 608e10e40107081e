"""The principal of a request, and the dependencies by which routes require a role."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.http.errors import Forbidden
from app.models import Role


@dataclass(frozen=True)
class Principal:
    """On whose behalf a request is made: a token, its owner and its role."""

    token_id: str
    owner: str
    role: Role


def require_role(role: Role) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency that returns the principal of a request; Forbidden if its role is below this one.

    The `Authentication` middleware has identified it.
    """

    async def get_principal(request: Request) -> Principal:
        principal: Principal = request.state.principal
        if not principal.role.includes(role):
            raise Forbidden(f"this needs the role {role.value}; your token has the role {principal.role.value}")
        return principal

    return get_principal


Viewer = Annotated[Principal, Depends(require_role(Role.viewer))]
Member = Annotated[Principal, Depends(require_role(Role.member))]
Admin = Annotated[Principal, Depends(require_role(Role.admin))]


def require_owner(principal: Principal, owner: str) -> None:
    """Forbidden unless the principal owns the resource or is an admin."""
    if principal.role is not Role.admin and principal.owner != owner:
        others = f"{owner} and other admins" if owner == "admin" else f"{owner} and admins"
        raise Forbidden(f"this belongs to {owner}: only {others} may change it")
