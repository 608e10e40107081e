"""As much of a W&B server as a run needs to begin, and one that accepts connections and never answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_BUCKET = {
    "id": "1",
    "displayName": "run",
    "project": {"id": "1", "name": "project", "entity": {"id": "1", "name": "entity"}},
    "sweepName": None,
    "historyLineCount": 0,
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer: dict[str, Any] = {}
        if self.path == "/graphql":
            request = json.loads(body)
            answer = {"data": {"model": None}}
            if "upsertBucket" in request["query"]:
                bucket = _BUCKET | {"name": request["variables"]["name"]}
                answer = {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
            elif "createRunFiles" in request["query"]:
                # The process of W&B crashes if this is missing.
                answer = {"data": {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": []}}}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def wandb_server() -> Iterator[int]:
    """A server that lets a run begin; gives its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def deaf_socket() -> socket.socket:
    """A listening socket whose connections the system accepts, and nobody answers."""
    return socket.create_server(("127.0.0.1", 0), backlog=128)
