"""Middleware that authenticates every request before its parameters are checked and its body is read."""

from __future__ import annotations

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth.credentials import identify, read_secret
from app.http.error_handlers import DATABASE_ERRORS, database_unavailable
from app.http.errors import Forbidden, Problem, Unauthenticated

OPEN_PATHS = ("/healthz", "/readyz")
OPEN_PREFIX = "/static/"
# Pages for people: a browser prompts for a user name, which is ignored, and a password, which is the token.
BROWSER_PATHS = ("/", "/docs", "/openapi.json")
_BROWSER_CHALLENGE = {"WWW-Authenticate": 'Basic realm="mcn: any name, the token as password"'}
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="mcn"'}


class Authentication:
    """Puts the principal into `request.state.principal`; answers 401 without a valid token.

    Every path needs one except `OPEN_PATHS` and those below `OPEN_PREFIX`, whether or not it has a route.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app = app
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or scope["path"].startswith(OPEN_PREFIX):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            secret = read_secret(headers.get("authorization"))
            if secret is None:
                raise Unauthenticated("send your token as `Authorization: Bearer mcn_..`")
            principal = await run_in_threadpool(identify, self._engine, secret)
            _check_origin(scope["method"], headers)
        except Problem as problem:
            if isinstance(problem, Unauthenticated):
                problem.headers.update(_BROWSER_CHALLENGE if scope["path"] in BROWSER_PATHS else _CHALLENGE)
            await problem.response()(scope, receive, send)
            return
        except DATABASE_ERRORS as error:
            await database_unavailable(error).response()(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        await self._app(scope, receive, send)


def _check_origin(method: str, headers: Headers) -> None:
    """Forbidden for a change that a page of another site has a browser send, with the password that it remembers."""
    origin = headers.get("origin")
    if origin is None or method in ("GET", "HEAD", "OPTIONS"):
        return
    by_password = headers.get("authorization", "").lower().startswith("basic")
    if by_password and origin.partition("://")[2] != headers.get("host"):
        raise Forbidden("a page of another site sent this request: programs send `Authorization: Bearer mcn_..`")
