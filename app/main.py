"""The HTTP service: `create_app` joins middleware, routes and the event hub."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from app.auth.middleware import Authentication
from app.auth.queries import list_valid_hashes
from app.auth.routes import router as tokens
from app.auth.service import ensure_admin
from app.auth.sessions import cookie_name
from app.auth.throttle import Throttle
from app.catalogue.routes import router as catalogue
from app.cluster.quota_routes import router as quotas
from app.cluster.routes import router as cluster
from app.db import make_engine, transaction, upgrade
from app.http import docs, error_handlers
from app.http.concurrent_requests import ConcurrentRequests
from app.http.duplicate_headers import DuplicateHeaders
from app.http.in_turn import InTurn
from app.http.openapi import DescribedAPI, problem_response
from app.http.query_parameters import refuse_unknown_parameters
from app.http.request_bodies import RequestBodies
from app.http.security_headers import SecurityHeaders
from app.http.unread_bodies import UnreadBodies
from app.jobs.report_routes import router as reports
from app.jobs.routes import router as jobs
from app.jobs.webhook_queries import subscribe
from app.operations.logs import configure_logging
from app.operations.metrics import Metrics, RequestMetrics
from app.operations.readiness import Readiness
from app.operations.request_log import RequestLog
from app.operations.retention.routes import router as retention
from app.operations.routes import router as operations
from app.operations.tracing import telemetry
from app.results.components.routes import all_router as all_components
from app.results.components.routes import router as components
from app.results.metrics.routes import router as metrics
from app.results.metrics.routes import series_router as series
from app.results.predictions.routes import compare_router as compare
from app.results.predictions.routes import router as predictions
from app.results.report.routes import router as report
from app.settings import Settings
from app.streams.hub import Hub
from app.streams.routes import events_router as events
from app.streams.routes import router as streams
from app.sweeps.routes import router as sweeps
from app.web import site
from app.web.problem_pages import ProblemPages
from app.web.session import login_response


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. On startup it migrates the database and creates the first admin token.

    Without settings, which is how uvicorn calls it, it takes those of the environment, and sets up the logs and the
    garbage collector of the process.
    """
    has_process = settings is None
    if settings is None:
        settings = Settings()
        configure_logging(settings)
    settings.make_folders()
    engine = make_engine(settings.sqlalchemy_url)
    subscribe(engine, settings)
    hub = Hub(engine)
    throttle = Throttle()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        upgrade(settings.sqlalchemy_url)
        with transaction(engine) as session:
            ensure_admin(session, settings.data_dir / "admin-token")
            throttle.remember(list_valid_hashes(session))
        await hub.start()
        if has_process:
            # These objects live as long as the process: a collection that leaves them out holds up requests for less.
            gc.collect()
            gc.freeze()
        yield
        await hub.stop()
        engine.dispose()

    app = DescribedAPI(
        title="MCN Fusion",
        summary="Train multi-expert fusion models: experts, fusion module and global head.",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(refuse_unknown_parameters)],
        telemetry=telemetry(settings),
        responses={
            "4XX": problem_response("The request is refused: a problem (RFC 9457)"),
            503: problem_response("A part of the service is not available: try again"),
        },
    )
    app.state.settings, app.state.engine, app.state.hub = settings, engine, hub
    app.state.throttle, app.state.lists = throttle, InTurn()
    app.state.metrics = counted = Metrics(engine, hub)
    app.state.readiness = Readiness(engine, settings)
    # The middleware that is added last sees a request first.
    app.add_middleware(ConcurrentRequests)
    app.add_middleware(RequestBodies)
    cookie = cookie_name(secure=settings.has_https)
    app.add_middleware(Authentication, engine=engine, throttle=throttle, cookie=cookie, login_response=login_response)
    app.add_middleware(DuplicateHeaders)
    app.add_middleware(UnreadBodies)
    app.add_middleware(ProblemPages)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestMetrics, metrics=counted)
    app.add_middleware(RequestLog)
    error_handlers.install(app)
    for router in (
        jobs,
        reports,
        streams,
        events,
        metrics,
        series,
        components,
        all_components,
        predictions,
        report,
        compare,
        sweeps,
        tokens,
        catalogue,
        cluster,
        quotas,
        retention,
        operations,
    ):
        app.include_router(router)
    docs.install(app)
    site.install(app)
    return app
