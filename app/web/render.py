"""Renders templates, with what every page needs: who is logged in, the theme, the CSRF token, the static files."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from app.auth.principals import Principal
from app.models import Role
from app.web.csrf import csrf_token
from app.web.headers import PAGE_HEADERS
from app.web.session import session_secret
from app.web.views import words

WEB = Path(__file__).parent
STATIC = WEB / "static"
THEMES = ("system", "light", "dark")
THEME_COOKIE = "mcn_theme"


@cache
def static_version() -> str:
    """A digest of all static files, part of their addresses: a new version never mixes with cached old files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in STATIC.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(STATIC)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def static_url(path: str) -> str:
    """The address of a static file."""
    return f"/static/ui/{static_version()}/{path}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(WEB / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"static": static_url, "words": words}
    environment.filters |= words.FILTERS
    return environment


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A page or a fragment from a template. Text of users is escaped by the template engine."""
    principal: Principal | None = getattr(request.state, "principal", None)
    secret = session_secret(request)
    theme = request.cookies.get(THEME_COOKIE, "system")
    common = {
        "principal": principal,
        "may_write": principal is not None and principal.role.includes(Role.member),
        "csrf": csrf_token(secret) if secret else "",
        "theme": theme if theme in THEMES else "system",
        "since": getattr(request.state, "since", None),
        "path": request.url.path,
        "address": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
    }
    html = _environment().get_template(template).render(common | context)
    return HTMLResponse(html, status, dict(PAGE_HEADERS))
