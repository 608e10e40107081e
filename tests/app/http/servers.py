"""A real uvicorn server in a thread of the test, and raw sockets to talk to it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import uvicorn

from tests.parts import wait_until

LIMIT_S = 30.0


@contextlib.contextmanager
def serving(app: Any, protocol: Any, *, lifespan: Literal["on", "off"] = "off") -> Iterator[Callable[[], Client]]:
    """Serves an ASGI application with an HTTP protocol class; gives what makes connections to it."""
    config = uvicorn.Config(
        app, port=0, http=protocol, lifespan=lifespan, log_level="error", ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    clients = contextlib.ExitStack()
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, "the server's start")
        yield lambda: clients.enter_context(contextlib.closing(Client(listener.getsockname()[1])))
    finally:
        clients.close()
        server.should_exit = True
        thread.join(LIMIT_S)
        listener.close()
    assert not thread.is_alive(), "the server still runs and would slow down every later test"


class Client:
    """A connection on which a test sends whatever bytes it likes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)

    def send(self, data: bytes) -> bool:
        """Whether the server still takes data."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def receive(self) -> bytes:
        """All that comes until the server closes the connection."""
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while block := self.socket.recv(65_536):
                received += block
        return received

    def receive_until(self, end: bytes) -> bytes:
        """All that comes until these bytes have come, or the server closes the connection."""
        received = b""
        while end not in received and (block := self.socket.recv(65_536)):
            received += block
        return received

    def send_until_closed(self, data: bytes, every_s: float) -> float:
        """Sends data again and again; gives the seconds until the server has closed the connection."""
        began = time.monotonic()
        self.socket.setblocking(False)
        while time.monotonic() - began < LIMIT_S:
            try:
                if self.socket.recv(65_536) == b"":
                    break
            except BlockingIOError:
                pass
            except OSError:
                break
            if not self.send(data):
                break
            time.sleep(every_s)
        return time.monotonic() - began

    def close(self) -> None:
        self.socket.close()
