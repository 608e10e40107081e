"""Logging in by a token or a one-time link, logging out, and the colour theme."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import Form, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from app.auth import sessions
from app.auth.credentials import TOKEN_PREFIX, identify
from app.auth.middleware import read_cookie
from app.auth.throttle import T, Throttle, address_of
from app.db import transaction
from app.http.errors import Forbidden, TooManyRequests, Unauthenticated
from app.http.session import Configured
from app.web.csrf import check_csrf, csrf_token
from app.web.render import THEME_COOKIE, THEMES, page
from app.web.routing import page_router
from app.web.session import clear_session, safe_target, session_secret, set_session

router = page_router()
# Before there is a session, the login form's CSRF token is bound to this cookie.
FORM_COOKIE = "mcn_login"
Next = Annotated[str, Form(max_length=2000)]
Code = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,64}$")]


@router.get("/login")
def login_page(request: Request, settings: Configured, next: str = "") -> Response:
    """The login form; a browser that has a session goes on at once."""
    secret = read_cookie(request.headers, sessions.cookie_name(secure=settings.has_https))
    if secret is not None:
        try:
            _attempt(request, secret, partial(sessions.identify_session, request.app.state.engine, secret))
            return RedirectResponse(safe_target(next), 303)
        except (Unauthenticated, TooManyRequests):
            pass
    return _form(request, "login/login.html", next=safe_target(next), error="")


@router.post("/login")
async def log_in(
    request: Request,
    settings: Configured,
    token: Annotated[str, Form(max_length=200)],
    next: Next = "",
) -> Response:
    """Exchange a token for a session."""
    await _check_form(request)
    token = token.strip()
    try:
        if not token.startswith(TOKEN_PREFIX) or not token.isascii():
            raise Unauthenticated("this is not a token: tokens begin with mcn_")
        secret = await run_in_threadpool(_open_by_token, request, token)
    except (Unauthenticated, TooManyRequests) as problem:
        response = _form(
            request, "login/login.html", status=problem.status, next=safe_target(next), error=problem.detail
        )
        response.headers.update(problem.headers)
        return response
    return _logged_in(settings, secret, safe_target(next))


def _open_by_token(request: Request, token: str) -> str:
    principal = _attempt(request, token, partial(identify, request.app.state.engine, token))
    with transaction(request.app.state.engine) as session:
        secret = sessions.open_session(session, principal.token_id)
    request.app.state.throttle.trust(secret)
    return secret


def _attempt(request: Request, secret: str, authenticate: Callable[[], T]) -> T:
    """Authenticates unless too many failures came from this address."""
    throttle: Throttle = request.app.state.throttle
    return throttle.attempt(address_of(request.scope), secret, authenticate)


@router.get("/login/once/{code}")
def link_page(request: Request, code: Code) -> Response:
    """A button: programs that only preview the link do not use it up."""
    return _form(request, "login/once.html")


@router.post("/login/once/{code}")
async def log_in_by_link(request: Request, settings: Configured, code: Code) -> Response:
    """Use up a login link."""
    await _check_form(request)
    secret = await run_in_threadpool(_open_by_link, request, code)
    return _logged_in(settings, secret, "/ui/jobs")


def _open_by_link(request: Request, code: str) -> str:
    def use() -> str:
        with transaction(request.app.state.engine) as session:
            return sessions.use_link(session, code)

    secret = _attempt(request, code, use)
    request.app.state.throttle.trust(secret)
    return secret


@router.post("/ui/logout")
def log_out(request: Request, settings: Configured) -> Response:
    """End the session."""
    secret = session_secret(request)
    if secret:
        with transaction(request.app.state.engine) as session:
            sessions.close_session(session, secret)
    response = RedirectResponse("/login", 303)
    clear_session(response, settings)
    return response


@router.post("/ui/theme")
def set_theme(settings: Configured, theme: Annotated[str, Form(max_length=20)], next: Next = "") -> Response:
    """Remember the colour theme in this browser."""
    response = RedirectResponse(safe_target(next), 303)
    if theme in THEMES:
        response.set_cookie(THEME_COOKIE, theme, max_age=31_536_000, samesite="strict", secure=settings.has_https)
    return response


def _form(request: Request, template: str, **context: object) -> Response:
    secret = read_cookie(request.headers, FORM_COOKIE) or secrets.token_urlsafe(16)
    response = page(request, template, form_token=csrf_token(secret), **context)  # type: ignore[arg-type]
    response.set_cookie(FORM_COOKIE, secret, max_age=3600, path="/login", httponly=True, samesite="strict")
    return response


async def _check_form(request: Request) -> None:
    try:
        await check_csrf(request, read_cookie(request.headers, FORM_COOKIE))
    except Forbidden:
        raise Forbidden("this form is out of date, or cookies are blocked: open the login page again") from None


def _logged_in(settings: Configured, secret: str, target: str) -> Response:
    response = RedirectResponse(target, 303)
    set_session(response, settings, secret)
    return response
