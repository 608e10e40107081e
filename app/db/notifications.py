"""Messages between the parts of a service on PostgreSQL, sent with a commit and received at once: LISTEN and NOTIFY.

Every listener receives them, where the broker gives a message to one worker alone. They may be lost while a listener is
not connected, so whoever relies on them also looks now and then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from sqlalchemy import text
from sqlmodel import Session

log = logging.getLogger(__name__)
# How long a listener waits before it connects again, and between two looks at whether it shall go on.
PAUSE_S = 1.0


def notify(session: Session, channel: str, message: str) -> None:
    """Sends a message to all listeners when the session commits; does nothing on SQLite."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_notify(:channel, :message)"), {"channel": channel, "message": message})


def listen(url: str, channel: str) -> Iterator[str | None]:
    """The messages of a channel; None after each connection, as some may have been missed, and every second.

    Never ends, and connects again when the connection is lost.
    """
    import psycopg

    from app.db.postgres import CONNECTION_PARAMETERS

    address = url.replace("postgresql+psycopg://", "postgresql://")
    while True:
        try:
            with psycopg.connect(address, autocommit=True, **CONNECTION_PARAMETERS) as connection:
                connection.execute(f'LISTEN "{channel}"'.encode())
                while True:
                    yield None
                    for message in connection.notifies(timeout=PAUSE_S):
                        yield message.payload
        except psycopg.Error as error:
            log.info("not connected for notifications, will try again: %s", str(error).strip().partition("\n")[0])
            time.sleep(PAUSE_S)
            yield None
