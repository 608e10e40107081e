"""Middleware that gives every request an id, for its log lines and its response, and logs it if that is wanted."""

from __future__ import annotations

import logging
import re
import time
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from app.operations.logs import request_scope

log = logging.getLogger(__name__)
HEADER = "X-Request-ID"
_HEADER = HEADER.lower().encode()
# An id goes into logs and headers as it is.
_WELL_FORMED = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class RequestLog:
    """Puts the id into `request.state.request_id` and into the response: the client's own, if it is well-formed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _client_id(scope) or f"req_{ULID()}"
        scope.setdefault("state", {})["request_id"] = request_id
        # Never reset: each request has a task of its own, and the server logs what fails after this has returned.
        request_scope.set(scope)
        began = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (_HEADER, request_id.encode())]
                if log.isEnabledFor(logging.INFO):
                    # Without the query, which may be long; quoted, since a path may contain line breaks.
                    fields = {"status": message["status"], "duration_s": round(time.perf_counter() - began, 4)}
                    log.info("%s %s", scope["method"], quote(scope["path"]), extra=fields)
            await send(message)

        await self._app(scope, receive, send_with_id)


def _client_id(scope: Scope) -> str | None:
    value = next((value for name, value in scope["headers"] if name == _HEADER), b"")
    return value.decode() if _WELL_FORMED.fullmatch(value) else None
