"""Middleware that refuses requests with several Host or Authorization headers.

Proxies and servers differ in which of them counts, so that one could check another than the service uses.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.errors import Problem
from app.http.responses import answer_problem

SINGLE_HEADERS = (b"host", b"authorization")


class DuplicateHeaders:
    """Answers 400 if one of `SINGLE_HEADERS` occurs more than once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            names = [name for name, _ in scope["headers"] if name in SINGLE_HEADERS]
            if len(names) > len(set(names)):
                problem = Problem("the request has several Host or Authorization headers: send each once")
                await answer_problem(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)
