"""Middleware that lets a client finish sending before it gets an early response.

A refusal (401, 413, ..) often comes before the body has been read. If the server closed the connection then, a client
that is still sending would see "Broken pipe" instead of the refusal. So the rest of the body is read and discarded
first, within limits.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_DISCARDED_BYTES = 64 << 20
DISCARD_TIMEOUT_S = 10.0


class UnreadBodies:
    """Discards what remains of a request body before the response starts; closes the connection if that fails."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD") or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, expects_continue=_header(scope, b"expect") is not None)
        await self._app(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request and its response."""

    def __init__(self, receive: Receive, send: Send, *, expects_continue: bool) -> None:
        self._receive = receive
        self._send = send
        # The client waits for "100 Continue", which the first `receive` sends: without it no body comes.
        self._holds_back = expects_continue
        self._complete = False

    async def receive(self) -> Message:
        self._holds_back = False
        message = await self._receive()
        self._complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._complete:
            if not self._holds_back:
                await self._discard()
            if not self._complete:
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await self._send(message)

    async def _discard(self) -> None:
        discarded_bytes = 0
        try:
            async with asyncio.timeout(DISCARD_TIMEOUT_S):
                while not self._complete and discarded_bytes <= MAX_DISCARDED_BYTES:
                    discarded_bytes += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


def _has_body(scope: Scope) -> bool:
    return _header(scope, b"content-length") not in (None, b"0") or _header(scope, b"transfer-encoding") is not None


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)
