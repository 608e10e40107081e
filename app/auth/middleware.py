"""Middleware that authenticates every request before its parameters are checked and its body is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http.cookies import CookieError, SimpleCookie

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth.credentials import identify, read_secret
from app.auth.principals import Principal
from app.auth.sessions import identify_session
from app.auth.throttle import Throttle, address_of
from app.http.error_handlers import DATABASE_ERRORS, database_unavailable
from app.http.errors import Problem, TooManyRequests, Unauthenticated
from app.http.responses import answer_problem

OPEN_PATHS = ("/healthz", "/readyz", "/login")
OPEN_PREFIXES = ("/static/", "/login/")
# Pages for people. Below /ui, every method takes the cookie, since each form there carries a CSRF token.
PAGES = ("/", "/docs")
UI = "/ui"
_SAFE_METHODS = ("GET", "HEAD")
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="mcn"'}


class Authentication:
    """Puts the principal into `request.state.principal`; answers 401 without a valid token or session.

    Every path needs one except `OPEN_PATHS` and those below `OPEN_PREFIXES`, whether or not it has a route. The
    session cookie is taken for reading alone, and below `UI`. `login_response` makes the answer to a person. 429 comes
    from the throttle, before the database is asked.
    """

    def __init__(
        self,
        app: ASGIApp,
        engine: Engine,
        throttle: Throttle,
        cookie: str,
        login_response: Callable[[Scope, str], Response],
    ) -> None:
        self._app = app
        self._engine = engine
        self._throttle = throttle
        self._cookie = cookie
        self._login_response = login_response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or path in OPEN_PATHS or path.startswith(OPEN_PREFIXES):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        try:
            state["principal"] = await run_in_threadpool(self._identify, scope, state)
        except (Unauthenticated, TooManyRequests) as problem:
            if is_page(path):
                response = self._login_response(scope, problem.detail)
                response.status_code = problem.status
                response.headers.update(problem.headers)
                await response(scope, receive, send)
                return
            if isinstance(problem, Unauthenticated):
                problem.headers.update(_CHALLENGE)
            await answer_problem(problem)(scope, receive, send)
            return
        except Problem as problem:
            await answer_problem(problem)(scope, receive, send)
            return
        except DATABASE_ERRORS as error:
            await answer_problem(database_unavailable(error))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _identify(self, scope: Scope, state: dict[str, object]) -> Principal:
        headers = Headers(scope=scope)
        secret = read_secret(headers.get("authorization"))
        if secret is not None:
            return self._throttle.attempt(address_of(scope), secret, partial(identify, self._engine, secret))
        if "authorization" not in headers and (scope["method"] in _SAFE_METHODS or is_page(scope["path"])):
            session = read_cookie(headers, self._cookie)
            if session is not None:
                authenticate = partial(identify_session, self._engine, session)
                principal = self._throttle.attempt(address_of(scope), session, authenticate)
                # Forms derive their CSRF token from it.
                state["session"] = session
                return principal
        raise Unauthenticated("send your token as `Authorization: Bearer mcn_..`")


def is_page(path: str) -> bool:
    """Whether a path is that of a page, for which a browser without a session gets the login page."""
    return path in PAGES or path == UI or path.startswith(UI + "/")


def read_cookie(headers: Headers, name: str) -> str | None:
    """The value of a cookie; None if it is missing or is no value of ours."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return morsel.value if morsel and morsel.value.isascii() and len(morsel.value) < 100 else None
