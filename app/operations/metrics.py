"""The metrics of the service: requests are counted in this process, everything else is read when it is scraped."""

from __future__ import annotations

import threading
import time

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import generate_latest
from sqlalchemy import Engine
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.errors import Unavailable
from app.operations.collectors import DatabaseCollector, StreamCollector
from app.streams.hub import Hub

# The text format that every version of Prometheus reads.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SCRAPE_WAIT_S = 5.0
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Seconds; the longest is what a busy database may take.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# They would double the number of lines, and say nothing about this service.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one application."""

    def __init__(self, engine: Engine, hub: Hub) -> None:
        self._registry = CollectorRegistry()
        self._scraping = threading.Lock()
        self._requests = Counter(
            "mcn_http_requests",
            "Requests by method, route and class of the status.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._durations = Histogram(
            "mcn_http_request_duration_seconds",
            "Time from the arrival of a request to the beginning of the response.",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(DatabaseCollector(engine))
        self._registry.register(StreamCollector(hub))
        ProcessCollector(registry=self._registry)

    def scrape(self) -> bytes:
        """Everything in the text format of Prometheus; Unavailable if another scrape takes long."""
        # One at a time, so that a slow database does not end up with a thread for each scrape.
        if not self._scraping.acquire(timeout=SCRAPE_WAIT_S):
            raise Unavailable("another scrape of the metrics is still running: scrape less often")
        try:
            return generate_latest(self._registry)
        finally:
            self._scraping.release()

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request whose response begins now."""
        # Clients choose methods and paths, so their number has no limit; that of these labels has.
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = route_of(scope)
        self._requests.labels(method, route, f"{status // 100}xx").inc()
        self._durations.labels(method, route).observe(seconds)


def route_of(scope: Scope) -> str:
    """The template of the route that matched, such as `/jobs/{job_id}`."""
    template = getattr(scope.get("route"), "path_format", None)
    if template is not None:
        return str(template)
    return "/static" if scope["path"].startswith("/static/") else "unmatched"


class RequestMetrics:
    """Middleware that counts every request and how long its response took to begin."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        has_begun = False

        async def send_counted(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                self._metrics.count(scope, message["status"], time.perf_counter() - began)
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        except Exception:
            if not has_begun:
                # The response to it is made outside of all middleware.
                self._metrics.count(scope, 500, time.perf_counter() - began)
            raise
