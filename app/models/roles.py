"""Who may do what."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Viewers see all; members change what is theirs; admins change all."""

    viewer = "viewer"
    member = "member"
    admin = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role may do all that the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)
