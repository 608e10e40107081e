"""The roles of tokens, in rising order of what they permit."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Viewers read everything; members also submit jobs and change their own; admins change everything."""

    viewer = "viewer"
    member = "member"
    admin = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role permits everything that the other one permits."""
        order = list(Role)
        return order.index(self) >= order.index(other)
