"""Hundreds of clients that send or read slowly keep nobody else out of the service, without a proxy in front of it."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from app.supervisor.up import commands
from tests.app.api import EXPERT
from tests.parts import free_port, wait_until

ROOT = Path(__file__).parents[3]
CLIENTS = 200
EVERY_S = 1.0
DURATION_S = 5.0
# Of one answer, on a busy machine.
LIMIT_S = 5.0
pytestmark = [pytest.mark.processes, pytest.mark.slow]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The API as `mcn up` starts it, and a client with its admin token."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("slow") / "data", port=free_port())
    variables = {"MCN_DATA_DIR": str(settings.data_dir)}
    process = subprocess.Popen(commands(settings)["api"], cwd=ROOT, env=os.environ | variables)

    def answers() -> bool:
        try:
            return httpx.get(f"{settings.api_url}/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, "the start of the API")
        token = (settings.data_dir / "admin-token").read_text().strip()
        # A connection for each request, as for somebody who has just come.
        limits = httpx.Limits(max_keepalive_connections=0)
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=settings.api_url, headers=headers, timeout=LIMIT_S, limits=limits) as client:
            yield client
    finally:
        process.terminate()
        process.wait(60)


class SlowClients:
    """Connections which send `begin` and then one byte of `trickle` a second; they read only if `reads`.

    Those that the server closes are replaced.
    """

    def __init__(self, port: int, begin: bytes, trickle: bytes, *, reads: bool) -> None:
        self._port, self._begin, self._trickle, self._reads = port, begin, trickle, reads
        self._sockets: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.replaced = 0

    def __enter__(self) -> SlowClients:
        self._sockets = [self._connect() for _ in range(CLIENTS)]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(60)
        self._selector.close()
        for connection in self._sockets:
            connection.close()

    def _connect(self) -> socket.socket:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(LIMIT_S)
        connection.connect(("127.0.0.1", self._port))
        connection.sendall(self._begin)
        connection.setblocking(False)
        return connection

    def _run(self) -> None:
        turn = 0
        while not self._stopping.wait(EVERY_S):
            byte = self._trickle[turn % max(1, len(self._trickle)) :][:1]
            turn += 1
            for index, connection in enumerate(self._sockets):
                if not self._continue(connection, byte):
                    connection.close()
                    self._sockets[index] = self._connect()
                    self.replaced += 1

    def _continue(self, connection: socket.socket, byte: bytes) -> bool:
        """Whether the server has kept the connection."""
        with contextlib.suppress(BlockingIOError):
            try:
                if byte:
                    connection.send(byte)
                if self._reads:
                    return connection.recv(65_536) != b""
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    raise
                return False
        return True


Begin = Callable[[str], bytes]
KINDS: dict[str, tuple[Begin, bytes, bool]] = {
    "headers": (lambda _: b"GET /jobs HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n", True),
    "bodies": (
        lambda token: f"POST /jobs HTTP/1.1\r\nHost: x\r\n{token}Content-Length: 1000\r\n\r\n".encode(), b" ", True,
    ),
    "bodies without a token": (lambda _: b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b" ", True),
    "forms": (lambda _: b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b" ", True),
    # More than fits into the buffers of both ends, and no more than 200 clients may ask for at once.
    "answers": (lambda token: f"GET /openapi.json HTTP/1.1\r\nHost: x\r\n{token}\r\n".encode() * 4, b"", False),
    "streams": (lambda token: f"GET /events HTTP/1.1\r\nHost: x\r\n{token}\r\n".encode(), b"", False),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_slow_clients_keep_nobody_out(api: httpx.Client, kind: str) -> None:
    begin, trickle, reads = KINDS[kind]
    token = f"Authorization: {api.headers['authorization']}\r\n"
    with SlowClients(api.base_url.port or 0, begin(token), trickle, reads=reads) as clients:
        began_all = time.monotonic()
        slowest: dict[str, float] = {}

        def is_over() -> bool:
            # The server gives nobody more than ten seconds for headers; then there are others.
            elapsed_s = time.monotonic() - began_all
            return elapsed_s > (90 if kind == "headers" and clients.replaced < CLIENTS else DURATION_S)

        while not is_over():
            for method, path in (("GET", "/healthz"), ("GET", "/jobs"), ("POST", "/jobs?dry_run=true")):
                began = time.monotonic()
                answer = api.request(method, path, json=EXPERT if method == "POST" else None)
                assert answer.status_code == 200, answer.text
                slowest[path] = max(slowest.get(path, 0.0), time.monotonic() - began)
    assert max(slowest.values()) < LIMIT_S, slowest
    assert kind != "headers" or clients.replaced >= CLIENTS
