"""Whether the broker answers. The service works without it: workers also look by themselves, some seconds later."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from app.settings import Settings

REDIS_PORT = 6379
# To connect, and again for the answer.
LIMIT_S = 1.0


def broker_address(settings: Settings) -> str:
    """Where the broker is, without scheme, user, password and number of the database."""
    if settings.broker_url is None:
        return "embedded, in the data folder"
    return settings.broker_url.rpartition("://")[2].rpartition("@")[2].partition("/")[0]


def broker_trouble(settings: Settings) -> str | None:
    """Why messages cannot be sent at the moment; None if they can."""
    if settings.broker_url is None:
        return None if os.access(settings.data_dir / "broker", os.W_OK) else "its folder cannot be written"
    try:
        url = urlsplit(f"//{broker_address(settings)}")
        address = (url.hostname or "localhost", url.port or REDIS_PORT)
        with socket.create_connection(address, timeout=LIMIT_S) as connection:
            # Behind TLS, only a handshake would tell more.
            return None if settings.broker_url.startswith("rediss") else _ping(connection)
    except (OSError, ValueError) as error:
        return str(error)


def _ping(connection: socket.socket) -> str | None:
    # The kernel accepts connections to a server that is stopped, so that only an answer shows that it runs.
    connection.sendall(b"PING\r\n")
    answer = connection.recv(64)
    # An error, that a password is missing for example, is an answer too.
    if answer.startswith(b"-LOADING"):
        return "Redis is still loading its data"
    return None if answer[:1] in (b"+", b"-") else "what answers is no Redis server"
