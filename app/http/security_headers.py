"""Headers that tell browsers not to guess types, send referrers, or show a response inside a frame."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A page that needs more, such as /docs, sets a policy of its own.
DEFAULT_CSP = "default-src 'none'; frame-ancestors 'none'"
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": DEFAULT_CSP,
}


def add_security_headers(headers: MutableHeaders) -> None:
    """Add each header that the response does not have yet."""
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)


class SecurityHeaders:
    """Middleware that adds `SECURITY_HEADERS` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                raw = message["headers"] = list(message.get("headers", ()))
                present = {name for name, _ in raw}
                raw.extend(header for header in _RAW if header[0] not in present)
            await send(message)

        await self._app(scope, receive, send_with_headers)


_RAW = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
