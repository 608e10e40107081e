"""Traces: none by default, and those of requests if they are switched on."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# The provider of traces is that of a whole process, and cannot be replaced.
SCRIPT = """
import sys
from fastapi.testclient import TestClient
from app.main import create_app
from app.settings import Settings

settings = Settings()
with TestClient(create_app(settings)) as http:
    token = {"Authorization": "Bearer " + (settings.data_dir / "admin-token").read_text().strip()}
    for path in ("/healthz", "/jobs/counts", "/login/0123456789abcdefABCDEF"):
        http.get(path, headers=token)
print("opentelemetry.sdk" in sys.modules)
"""


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Something that takes traces; gives its address, and the path and body of each request."""
    received: list[tuple[str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()


def run(folder: Path, endpoint: str, **variables: str) -> str:
    """Makes requests to the application in a process of its own; returns whether that has loaded the libraries."""
    address = {"MCN_DATA_DIR": str(folder / "data"), "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "no_proxy": "*"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=os.environ | address | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.processes
@pytest.mark.slow
def test_nothing_is_sent_or_loaded_by_default(tmp_path: Path) -> None:
    with collector() as (endpoint, received):
        assert run(tmp_path, endpoint) == "False"
    assert received == []


@pytest.mark.processes
@pytest.mark.slow
def test_requests_are_traced_if_it_is_switched_on_but_not_probes_and_logins(tmp_path: Path) -> None:
    with collector() as (endpoint, received):
        assert run(tmp_path, endpoint, MCN_TRACING="1") == "True"
    assert {path for path, _ in received} == {"/v1/traces"}
    sent = b"".join(body for _, body in received)
    assert b"GET /jobs/counts" in sent
    assert b"/healthz" not in sent
    assert b"/login" not in sent
    assert b"Bearer" not in sent
