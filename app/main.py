"""The HTTP service: the only place where its parts are joined."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles

from app.auth.principals import BROWSER_CHALLENGE, Principal, ensure_admin, needs
from app.auth.routes import router as tokens
from app.catalogue.routes import router as catalogue
from app.cluster.routes import router as cluster
from app.components.routes import router as components
from app.db import is_current, make_engine, reading, transaction, upgrade
from app.http import errors
from app.http.body_limit import BodyLimit
from app.http.errors import Invalid, Problem, Unauthenticated, Unavailable
from app.http.json_bodies import JsonBodies
from app.jobs.routes import router as jobs
from app.metrics.routes import router as metrics
from app.models import Role
from app.settings import Settings
from app.streams.hub import Hub
from app.streams.routes import router as streams
from app.sweeps.routes import router as sweeps


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; on start it brings the database up to date and makes the first token."""
    settings = settings or Settings()
    settings.make_folders()
    engine = make_engine(settings.sqlalchemy_url)
    hub = Hub(engine)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        upgrade(settings.sqlalchemy_url)
        with transaction(engine) as session:
            ensure_admin(session, settings.data_dir / "admin-token")
        await hub.start()
        yield
        await hub.stop()
        engine.dispose()

    app = FastAPI(
        title="MCN Fusion",
        summary="Train multi-expert fusion models: experts, fusion and head.",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(_known_parameters)],
        telemetry={"tracing": False},
        responses={
            "4XX": {
                "description": "A problem (RFC 9457)",
                "content": {"application/problem+json": {"schema": _PROBLEM}},
            },
            503: {"description": "Try again", "content": {"application/problem+json": {"schema": _PROBLEM}}},
        },
    )
    app.state.settings, app.state.engine, app.state.hub = settings, engine, hub
    app.state.reading = partial(reading, engine)
    app.add_middleware(JsonBodies)
    app.add_middleware(BodyLimit)
    errors.install(app)
    for router in (jobs, streams, metrics, components, sweeps, tokens, catalogue, cluster):
        app.include_router(router)
    _add_service_routes(app)
    return app


async def _known_parameters(request: Request) -> None:
    """Refuses a parameter that the route does not have: a filter that is ignored shows what was not asked for."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = {field.alias for dependant in _flat(route.dependant) for field in dependant.query_params}
    unknown = sorted(request.query_params.keys() - known)
    if unknown:
        msg = f"there is no such parameter here: there is {', '.join(sorted(known)) or 'none'}"
        raise Invalid.of([{"loc": ["query", name[:80]], "msg": msg} for name in unknown[:5]])


def _flat(dependant: Dependant) -> list[Dependant]:
    return [dependant, *(inner for part in dependant.dependencies for inner in _flat(part))]


_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}


def _browser(request: Request) -> Principal:
    """A viewer; a browser without a token is asked for one."""
    try:
        return needs(Role.viewer)(request)
    except Unauthenticated as problem:
        raise Unauthenticated(problem.detail, headers=BROWSER_CHALLENGE) from None


Browser = Annotated[Principal, Depends(_browser)]


# The page's scripts come from here: where clusters are, the internet often is not.
_DOCS_FILES = "/static/docs"


def _add_service_routes(app: FastAPI) -> None:
    app.mount(_DOCS_FILES, StaticFiles(packages=[("fastapi_offline", "static")]))

    @app.get("/healthz", tags=["service"])
    def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["service"])
    def readyz(request: Request) -> dict[str, str]:
        """The database can be used and is up to date."""
        current = None
        with suppress(Exception):  # whatever stands between us and the database, we are not ready
            current = is_current(request.app.state.engine)
        if not current:
            raise Unavailable("the database cannot be reached" if current is None else "run `mcn db upgrade`")
        return {"status": "ready"}

    @app.get("/", include_in_schema=False)
    def root(_asks: Browser) -> RedirectResponse:
        return RedirectResponse("/docs")

    @app.get("/docs", include_in_schema=False)
    def docs(_asks: Browser) -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="MCN Fusion API",
            swagger_js_url=f"{_DOCS_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{_DOCS_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{_DOCS_FILES}/favicon.png",
        )

    @app.get("/openapi.json", include_in_schema=False)
    def openapi(_asks: Browser) -> JSONResponse:
        return JSONResponse(app.openapi())


__all__ = ["Problem", "create_app"]
