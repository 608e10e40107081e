"""Times as the database stores them and as clients see them."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


def iso(time: datetime | None) -> str | None:
    """A stored time in ISO 8601 with milliseconds and `Z`, as clients see it."""
    return None if time is None else time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
