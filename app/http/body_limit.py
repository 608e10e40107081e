"""Bodies that are too large are refused before they are read."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.errors import answer

MAX_BODY_BYTES = 1 << 20


class BodyLimit:
    """Refuses by Content-Length as a problem; what is sent without one is counted as it comes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = RequestBodyLimitMiddleware(app, max_body_size=MAX_BODY_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = Headers(scope=scope).get("content-length", "0") if scope["type"] == "http" else "0"
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            detail = f"the body has {int(length):,} bytes, {MAX_BODY_BYTES:,} are allowed"
            await answer(413, "too-large", "The body is too large", detail)(scope, receive, send)
            return
        await self._app(scope, receive, send)
