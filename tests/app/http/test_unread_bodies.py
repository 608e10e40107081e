"""Bodies that are refused, too large, broken off or in another encoding, on a real server with raw sockets."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.http import unread_bodies
from app.http.guarded_protocol import GuardedProtocol
from app.main import create_app
from app.settings import Settings
from tests.app.http.servers import Client, serving
from tests.parts import wait_until

Connect = Callable[[], Client]
MIB = 1 << 20


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def connect(settings: Settings) -> Iterator[Connect]:
    with serving(create_app(settings), GuardedProtocol, lifespan="on") as connect:
        yield connect


def head(settings: Settings, *headers: str, token: str | None = None) -> bytes:
    secret = (settings.data_dir / "admin-token").read_text().strip() if token is None else token
    lines = ["POST /jobs HTTP/1.1", "Host: x", f"Authorization: Bearer {secret}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


@pytest.mark.parametrize(("token", "expected"), [(None, 413), ("mcn_unknown", 401), ("", 401)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_is_still_sending_sees_the_refusal(
    settings: Settings, connect: Connect, token: str | None, expected: int, chunked: bool
) -> None:
    client = connect()
    size = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {8 * MIB}"
    assert client.send(head(settings, size, "Connection: close", token=token))
    for _ in range(8):
        assert client.send(b"100000\r\n" + b"x" * MIB + b"\r\n" if chunked else b"x" * MIB)
    assert client.send(b"0\r\n\r\n" if chunked else b"")
    answer = client.receive()
    assert status(answer) == expected
    assert b"problem+json" in answer


def test_a_client_that_waits_for_100_continue_is_refused_before_it_sends(settings: Settings, connect: Connect) -> None:
    client = connect()
    client.send(head(settings, f"Content-Length: {8 * MIB}", "Expect: 100-continue"))
    answer = client.receive()
    assert status(answer) == 413
    assert b"connection: close" in answer.lower()


def test_no_more_than_the_bound_is_read_for_a_refusal(
    settings: Settings, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread_bodies, "MAX_DISCARDED_BYTES", 4 * MIB)
    client = connect()
    client.send(head(settings, f"Content-Length: {1 << 40}"))
    sent = 0
    while client.send(b"x" * MIB):
        sent += 1
        assert sent < 64


def test_a_refusal_does_not_wait_long_for_a_body(
    settings: Settings, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread_bodies, "DISCARD_TIMEOUT_S", 0.2)
    client = connect()
    began = time.monotonic()
    client.send(head(settings, f"Content-Length: {2 * MIB}") + b"x")
    answer = client.receive()
    assert status(answer) == 413
    assert 0.1 < time.monotonic() - began < 9.0


def test_a_client_that_hangs_up_inside_a_body_leaves_no_traceback(
    settings: Settings, connect: Connect, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "handlers", [caplog.handler])
    for path in (b"/jobs", b"/sweeps", b"/tokens"):
        client = connect()
        client.send(head(settings, "Content-Length: 100").replace(b"/jobs", path) + b'{"kind": ')
        client.close()
    # One more request, after which the others have been dealt with.
    wait_until(lambda: answers(settings, connect), "an answer")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def answers(settings: Settings, connect: Connect) -> bool:
    body = json.dumps({"kind": "expert", "expert": {"arch": "convnet_small"}}).encode()
    client = connect()
    client.send(head(settings, f"Content-Length: {len(body)}", "Connection: close") + body)
    return status(client.receive()) == 201
