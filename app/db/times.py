"""Times as the database stores them and as clients see them."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import text
from sqlmodel import Session


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


def database_time(session: Session) -> datetime:
    """The current time in UTC by the clock that all machines share: that of the PostgreSQL server.

    With SQLite all parts run on one machine, whose clock it is.
    """
    if session.get_bind().dialect.name != "postgresql":
        return now()
    time: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return time.astimezone(UTC)


def iso(time: datetime | None) -> str | None:
    """A stored time in ISO 8601 with milliseconds and `Z`, as clients see it."""
    return None if time is None else time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
