"""Adds the dashboard to the application: pages, static files, compression."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import RedirectResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.errors import NotFound
from app.web.pages import ROUTERS
from app.web.render import STATIC, static_url, static_version
from app.web.routing import page_router

# Streams and downloads are never compressed.
COMPRESSED_PREFIXES = ("/static/ui/", "/ui/", "/login", "/series")


class _ImmutableFiles(StaticFiles):
    """Static files whose address contains their version, so that browsers never ask for them again."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


class Compression:
    """Middleware that compresses pages, static files and charts, and leaves everything else alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressed = GZipMiddleware(app, minimum_size=1_000, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        compress = scope["type"] == "http" and scope["path"].startswith(COMPRESSED_PREFIXES)
        await (self._compressed if compress else self._plain)(scope, receive, send)


def install(app: FastAPI) -> None:
    """Mount the static files and include the routers of all pages."""
    app.mount(f"/static/ui/{static_version()}", _ImmutableFiles(directory=STATIC))
    app.add_middleware(Compression)
    for router in ROUTERS:
        app.include_router(router)
    fallback = page_router()

    @fallback.get("/")
    @fallback.get("/ui")
    @fallback.get("/ui/")
    async def root() -> RedirectResponse:
        return RedirectResponse("/ui/jobs", 303)

    @app.get("/favicon.ico", include_in_schema=False)
    async def favicon() -> RedirectResponse:
        return RedirectResponse(static_url("logo.svg"))

    @fallback.api_route("/ui/{rest:path}", methods=["GET", "POST"])
    async def unknown_page(rest: str) -> Response:
        raise NotFound(f"there is no page /ui/{rest[:80]}")

    app.include_router(fallback)
