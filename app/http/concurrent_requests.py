"""Middleware that answers only as many requests at a time as there are threads and database connections for.

A request can hold a connection, or SQLite's lock for writers, while it waits for a thread: for example to write its
response once its handler has returned. If requests that wait for connections or for the lock occupied every thread,
none of them would ever go on. So the others wait before they begin, without a thread.
"""

from __future__ import annotations

import asyncio
from collections import deque

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Below the 40 threads of the pool, and with two connections each about the 60 of a database engine.
MAX_REQUESTS = 32
# Answered whatever the others wait for; `/readyz` takes three threads at most, however often it is asked for.
EXEMPT = ("/healthz", "/readyz")


class ConcurrentRequests:
    """Counts a request from when its body has arrived to the start of its response, which may be a stream."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._slots = asyncio.Semaphore(MAX_REQUESTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in EXEMPT:
            await self._app(scope, receive, send)
            return
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"]):
            # Before a slot is taken: a client that sends slowly holds up nobody.
            receive = await _read_ahead(receive)
        is_counted = True
        await self._slots.acquire()

        def release() -> None:
            nonlocal is_counted
            if is_counted:
                is_counted = False
                self._slots.release()

        async def send_and_release(message: Message) -> None:
            if message["type"] == "http.response.start":
                release()
            await send(message)

        try:
            await self._app(scope, receive, send_and_release)
        finally:
            release()


async def _read_ahead(receive: Receive) -> Receive:
    """The same messages, of which those of the body have arrived. They are bounded by `RequestBodies`."""
    messages: deque[Message] = deque()
    refusal: HTTPException | None = None
    is_complete = False
    while not is_complete and refusal is None:
        try:
            messages.append(await receive())
        except HTTPException as error:
            # For the application to answer, if it reads that far.
            refusal = error
        else:
            is_complete = messages[-1]["type"] != "http.request" or not messages[-1].get("more_body", False)

    async def receive_again() -> Message:
        if messages:
            return messages.popleft()
        if refusal is not None:
            raise refusal
        return await receive()

    return receive_again
