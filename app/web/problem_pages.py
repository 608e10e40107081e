"""Middleware that answers browsers with a page where the application outside the page handlers answers with JSON."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.middleware import UI, is_page
from app.web.routing import render_error

PROBLEM = "application/problem+json"
# Their bodies are replaced, so these headers no longer describe them.
_REPLACED = ("content-type", "content-length")


class ProblemPages:
    """Turns the problems of middleware and of exception handlers into error pages, if a browser requested a page.

    The page needs nothing from the database, so a browser also gets it while the database is not available.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_page_request(scope):
            send = _ProblemReplacement(scope, receive, send).send
        await self._app(scope, receive, send)


class _ProblemReplacement:
    """One response: a problem is held back and sent as a page; any other response passes through."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and Headers(raw=message["headers"]).get("content-type") == PROBLEM:
            self._start = message
        elif self._start is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._page(self._start)(self._scope, self._receive, self._send)

    def _page(self, start: Message) -> Response:
        problem: dict[str, Any] = json.loads(self._body)
        headers = {name: value for name, value in Headers(raw=start["headers"]).items() if name not in _REPLACED}
        return render_error(Request(self._scope), problem["title"], problem["detail"], start["status"], headers)


def _is_page_request(scope: Scope) -> bool:
    """Whether a browser shows the answer as a page. Scripts that request parts of a page read problems as JSON."""
    path = scope["path"]
    if path.startswith(f"{UI}/-/") or not (is_page(path) or path == "/login" or path.startswith("/login/")):
        return False
    headers = Headers(scope=scope)
    return "hx-request" not in headers and "text/html" in headers.get("accept", "")
