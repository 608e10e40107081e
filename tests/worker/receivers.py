"""HTTP servers on this machine that receive webhooks: some answer, some never do."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Received(NamedTuple):
    """A request as it arrived."""

    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        return dict(json.loads(self.content))


class ReceiverServer:
    """Answers with the statuses of `answers`, then with 204."""

    def __init__(self, port: int, answers: list[int]) -> None:
        self.url = f"http://127.0.0.1:{port}/hooks"
        self.received: list[Received] = []
        self.answers = answers
        # Called when a request has arrived, before it is answered.
        self.before_answer: Callable[[], object] = lambda: None


@contextmanager
def receiving(*answers: int) -> Iterator[ReceiverServer]:
    """A server that answers with these statuses first; a redirect leads to the server itself."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            receiver.received.append(Received(dict(self.headers), content))
            receiver.before_answer()
            self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = ReceiverServer(server.server_address[1], list(answers))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class SilentReceiver:
    """Accepts connections and never completes an answer; `connected` is set when the first one has come."""

    def __init__(self, listener: socket.socket, trickle: bool) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/hooks"
        self.connected = threading.Event()
        self.ended = threading.Event()
        self._listener, self._trickle = listener, trickle

    def serve(self) -> None:
        """Keeps every connection open until the test has ended."""
        with contextlib.ExitStack() as connections:
            while not self.ended.is_set():
                try:
                    connection = connections.enter_context(self._listener.accept()[0])
                except TimeoutError:
                    continue
                self.connected.set()
                if self._trickle:
                    threading.Thread(target=self._send_slowly, args=(connection,), daemon=True).start()

    def _send_slowly(self, connection: socket.socket) -> None:
        # Each byte comes long before any limit for a single read.
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Endless: ")
            while not self.ended.wait(0.02):
                connection.sendall(b"a")


@contextmanager
def silent(*, trickle: bool = False) -> Iterator[SilentReceiver]:
    """A server that never answers, or sends its headers byte by byte without an end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        server = SilentReceiver(listener, trickle)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            thread.join()
