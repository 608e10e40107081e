"""Middleware for request bodies: a size limit, UTF-8 only, and JSON as the default content type."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.errors import TooLarge
from app.http.responses import answer_problem

MAX_BODY_BYTES = 1 << 20
# What `curl -d` sends unless it is given a type.
UNSPECIFIED_TYPES = ("", "application/x-www-form-urlencoded")
# Here browsers post forms.
FORM_PREFIXES = ("/ui/", "/login")


class RequestBodies:
    """Refuses bodies over `MAX_BODY_BYTES`, by Content-Length or while they arrive, and bodies in UTF-16 or UTF-32."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            detail = f"the body has {int(length):,} bytes; at most {MAX_BODY_BYTES:,} are allowed"
            await answer_problem(TooLarge(detail))(scope, receive, send)
            return
        if headers.get("content-type", "") in UNSPECIFIED_TYPES and not scope["path"].startswith(FORM_PREFIXES):
            headers["content-type"] = "application/json"
        received_bytes = 0

        async def receive_checked() -> Message:
            nonlocal received_bytes
            message = await receive()
            body = message.get("body", b"")
            received_bytes += len(body)
            if received_bytes > MAX_BODY_BYTES:
                raise HTTPException(413)
            # Python's json module would decode UTF-16 and UTF-32. JSON in them contains NUL bytes, in UTF-8 never.
            if b"\0" in body:
                raise HTTPException(422, "the body is not UTF-8 or contains NUL: send JSON in UTF-8")
            return message

        await self._app(scope, receive_checked, send)
