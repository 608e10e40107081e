"""A proxy in front of a server that can fall silent: connections stay open, and nothing comes through any more."""

from __future__ import annotations

import selectors
import socket
import threading
from typing import Self


class SilentServer:
    """Forwards TCP connections on this machine to a port; while `silent` is set, it reads and forwards nothing."""

    def __init__(self, port: int) -> None:
        self.silent = threading.Event()
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for one in [*self._peers, self._listener]:
            one.close()

    def _run(self) -> None:
        while not self._ended.wait(0.05 if self.silent.is_set() else 0.0):
            if self.silent.is_set():
                continue
            for key, _ in self._selector.select(0.05):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                if one is self._listener:
                    self._accept()
                elif one in self._peers:
                    self._forward(one)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(self._target)
        for one, other in ((client, server), (server, client)):
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _forward(self, one: socket.socket) -> None:
        other = self._peers[one]
        try:
            block = one.recv(65_536)
            if block:
                other.sendall(block)
                return
        except OSError:
            pass
        for closed in (one, other):
            self._selector.unregister(closed)
            del self._peers[closed]
            closed.close()
