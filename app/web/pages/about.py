"""The page about this service: version, licences, where its data are."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import Request
from starlette.responses import Response

from app.auth.principals import Viewer
from app.http.session import Configured
from app.models import Role
from app.web.render import page
from app.web.routing import page_router
from app.web.vendor import packages

router = page_router()


@router.get("/ui/about")
def about_page(request: Request, principal: Viewer, settings: Configured) -> Response:
    """What runs here, and the licences of what the pages use."""
    facts = {"Version": version("mcn-fusion"), "Address": settings.browser_url}
    if principal.role is Role.admin:
        database = "SQLite" if settings.sqlalchemy_url.startswith("sqlite") else "PostgreSQL"
        broker = "Redis" if settings.broker_url else "embedded"
        facts |= {"Data folder": str(settings.data_dir), "Database": database, "Broker": broker}
    return page(request, "about/about.html", facts=facts, packages=packages())
