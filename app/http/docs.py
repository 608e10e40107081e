"""/openapi.json, and the page /docs: Swagger UI from files of this service, since clusters often have no internet."""

from __future__ import annotations

import base64
import hashlib
import re

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

STATIC_PATH = "/static/docs"
_router = APIRouter(include_in_schema=False)


def install(app: FastAPI) -> None:
    """Serve the description and the page, with Swagger UI's script and style sheet below `STATIC_PATH`."""
    app.mount(STATIC_PATH, StaticFiles(packages=[("fastapi_offline", "static")]))
    app.include_router(_router)


@_router.get("/openapi.json")
async def openapi_json(request: Request) -> Response:
    """The description; from the request's application, since FastAPI caches routes for longer than that lives."""
    return Response(request.app.openapi_json(), media_type="application/json")


@_router.get("/docs")
async def docs_page() -> HTMLResponse:
    """The page, with a content security policy that permits its own inline script by its hash."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="MCN Fusion API",
        swagger_js_url=f"{STATIC_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{STATIC_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{STATIC_PATH}/favicon.png",
    )
    scripts = re.findall(rb"<script>(.*?)</script>", bytes(page.body), re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in scripts)
    page.headers["Content-Security-Policy"] = "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' {hashes}",
            # Swagger UI sets style attributes and shows icons from data URLs.
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ]
    )
    return page
