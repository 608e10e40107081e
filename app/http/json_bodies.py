"""Bodies are JSON, whatever a client calls them: `curl -d` calls everything a form."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

NOT_SAID = ("", "application/x-www-form-urlencoded")


class JsonBodies:
    """Takes a body for JSON if its type is not given, or is what curl gives unless told otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = MutableHeaders(scope=scope)
            if headers.get("content-type", "") in NOT_SAID:
                headers["content-type"] = "application/json"
        await self._app(scope, receive, send)
