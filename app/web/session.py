"""The session cookie, and the answer to a browser that has none."""

from __future__ import annotations

from html import escape
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from app.auth.sessions import SESSION_LIFETIME, cookie_name
from app.settings import Settings
from app.web.headers import PAGE_HEADERS

HOME = "/ui/jobs"
_REFRESH = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>MCN Fusion</title>
<meta http-equiv="refresh" content="0; url={url}"></head>
<body><p><a href="{url}">Continue</a></p></body></html>
"""


def set_session(response: Response, settings: Settings, secret: str) -> None:
    """Give the browser a session cookie that scripts cannot read and other sites cannot send."""
    response.set_cookie(
        cookie_name(secure=settings.has_https),
        secret,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        path="/",
        secure=settings.has_https,
        httponly=True,
        samesite="strict",
    )


def clear_session(response: Response, settings: Settings) -> None:
    """Remove the session cookie."""
    response.delete_cookie(
        cookie_name(secure=settings.has_https), path="/", secure=settings.has_https, httponly=True, samesite="strict"
    )


def login_response(scope: Scope, detail: str) -> Response:
    """The answer to a page that needs a session.

    A link from another site arrives without the cookie, which is SameSite=Strict. The answer is therefore no redirect,
    which would be cross-site too, but a page that moves on: that request does carry the cookie.
    """
    headers = Headers(scope=scope)
    url = login_url(_requested_page(scope, headers))
    if headers.get("hx-request"):
        return Response(detail, 401, {"HX-Redirect": url, **PAGE_HEADERS}, media_type="text/plain")
    return HTMLResponse(_REFRESH.format(url=escape(url)), 401, PAGE_HEADERS)


def _requested_page(scope: Scope, headers: Headers) -> str:
    # A part of a page, and the address that a form is sent to, are no pages to come back to.
    if headers.get("hx-request"):
        try:
            address = urlsplit(headers.get("hx-current-url", ""))
        except ValueError:
            return HOME
        path, query = address.path or HOME, address.query
    elif scope["method"] in ("GET", "HEAD"):
        path, query = scope["path"], scope.get("query_string", b"").decode("latin-1")
    else:
        path, query = HOME, ""
    return path + (f"?{query}" if query else "")


def login_url(target: str) -> str:
    """The address of the login page that leads on to another page of the dashboard."""
    return f"/login?next={quote(target, safe='/')}"


def safe_target(target: str | None) -> str:
    """Where to go after the login: a path of this service, never another host."""
    if not target or not target.startswith("/") or target.startswith(("//", "/\\", "/login")) or "\\" in target:
        return HOME
    return target if target.isprintable() and target.isascii() else HOME


def session_secret(request: Request) -> str | None:
    """The secret of the session by which the request was authenticated; None for a token."""
    secret: str | None = getattr(request.state, "session", None)
    return secret
