"""Limits on headers, connections and time, driven with raw sockets against a real server."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.http.guarded_protocol import GuardedProtocol, connection_limit
from tests.app.http.servers import LIMIT_S, Client, serving
from tests.parts import wait_until

Connect = Callable[[], Client]
HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


# Of a response in chunks.
END = b"\r\n0\r\n\r\n"


class Limits(GuardedProtocol):
    """Limits that a test reaches soon."""

    max_connections = 4
    head_timeout_s = 0.5
    body_timeout_s = 0.5
    write_timeout_s = 0.5


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body; answers its length, or with a response that is longer than all buffers."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-length", str(length).encode())]})
    # uvicorn takes and drops what is sent after the end of a connection: nothing else would end the response.
    for _ in range(10_000 if scope["path"] == "/long" else 0):
        await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def connect() -> Iterator[Connect]:
    with serving(app, Limits) as connect:
        yield connect


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


def test_a_request_within_the_limits_is_answered_in_one_piece_or_many(connect: Connect) -> None:
    client = connect()
    for block in (HEALTHZ, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000):
        client.send(block[:20])
        client.send(block[20:])
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000)
    client.send(b"0\r\nA-Trailer: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = client.receive()
    assert answer.count(b"200 OK") == 4
    assert [line for line in answer.splitlines() if line.startswith(b"x-length")] == [
        b"x-length: 0", b"x-length: 100000", b"x-length: 20000", b"x-length: 0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: ",
        b"GET /",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nX: ",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x=",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ],
    ids=["header", "address", "header of a second request", "chunk extension", "trailer"],
)
def test_endless_headers_end_the_connection_within_the_limit(connect: Connect, head: bytes) -> None:
    client = connect()
    client.send(head)
    sent = 0
    while client.send(b"a" * 8_192):
        sent += 8_192
        assert sent < 64 << 20  # what fits into the buffers of both ends
    assert b" 431 " in client.receive() or sent > 0


def test_headers_that_are_too_large_are_answered_with_a_problem(connect: Connect) -> None:
    client = connect()
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (32 << 10))
    head, _, body = client.receive().partition(b"\r\n\r\n")
    assert status(head) == 431
    assert b"content-type: application/problem+json" in head.lower()
    assert b"nosniff" in head
    assert json.loads(body)["type"] == "headers-too-large"


@pytest.mark.parametrize(
    ("begin", "trickle"),
    [
        (b"", b"\r\n"),
        (b"GET / HTTP/1.1\r\n", b"A: b\r\n"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (HEALTHZ + b"GET / HTTP/1.1\r\n", b"A: b\r\n"),
    ],
    ids=["empty lines", "headers", "body", "headers of a second request"],
)
def test_a_slow_request_is_ended_after_its_deadline(connect: Connect, begin: bytes, trickle: bytes) -> None:
    client = connect()
    client.send(begin)
    seconds = client.send_until_closed(trickle, every_s=0.02)
    assert 0.3 < seconds < LIMIT_S


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\nHost:", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"])
def test_a_request_that_stops_is_answered_with_408(connect: Connect, begin: bytes) -> None:
    client = connect()
    client.send(begin)
    answer = client.receive()
    assert (status(answer), answer.count(b"HTTP/1.1")) == (408, 1)


def test_a_silent_connection_is_closed(connect: Connect) -> None:
    assert connect().receive() == b""


def test_what_is_no_http_is_answered_with_a_problem(connect: Connect) -> None:
    client = connect()
    client.send(b"\x16\x03\x01hello\r\n\r\n")
    answer = client.receive()
    assert status(answer) == 400
    assert b"problem+json" in answer


def test_connections_beyond_the_limit_are_refused_while_the_others_are_served() -> None:
    class Patient(Limits):
        head_timeout_s = LIMIT_S

    with serving(app, Patient) as connect:
        allowed = [connect() for _ in range(4)]
        assert all(client.send(HEALTHZ) and b" 200 " in client.receive_until(END) for client in allowed)
        for _ in range(20):
            refused = connect()
            assert refused.receive()[:12] in (b"HTTP/1.1 503", b"")
            refused.close()
        began = time.monotonic()
        allowed[0].send(HEALTHZ)
        assert b" 200 " in allowed[0].receive_until(END)
        assert time.monotonic() - began < 2.0
        allowed[1].close()

        def served() -> bool:
            client = connect()
            client.send(HEALTHZ.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            return b" 200 " in client.receive()

        wait_until(served, "a free place")


def test_a_client_that_reads_nothing_is_disconnected(connect: Connect) -> None:
    client = connect()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.send(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")

    def is_disconnected() -> bool:
        return not client.send(b"\r\n")

    wait_until(is_disconnected, "the end of the connection")


def test_a_request_that_is_being_answered_sees_the_disconnect_though_others_follow_it() -> None:
    reached: list[str] = []

    async def wait(scope: Any, receive: Any, _send: Any) -> None:
        reached.append(scope["path"])
        while (await receive())["type"] != "http.disconnect":
            pass
        reached.append("disconnected")

    with serving(wait, GuardedProtocol) as connect:
        client = connect()
        client.send(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: reached == ["/first"], "the first request")
        client.close()
        wait_until(lambda: reached == ["/first", "disconnected"], "the disconnect", LIMIT_S)


def test_few_open_files_mean_fewer_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert connection_limit(2_000) == 768
    assert connection_limit(100) == 100
