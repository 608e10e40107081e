"""Traces of requests by OpenTelemetry, which FastAPI makes and sends itself. Off unless a setting says otherwise."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from app.settings import Settings

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

# Probes would bury everything else, and a login link has its code in the path.
_NOT_TRACED = ("/healthz", "/readyz", "/metrics", "/static/", "/login")


def telemetry(settings: Settings) -> TelemetryConfig:
    """FastAPI's configuration: traces alone. Metrics are those of `GET /metrics`, and logs have a form of their own."""
    return {
        "tracing": settings.tracing,
        "auto_configure": settings.tracing,
        "metrics": False,
        "logs": False,
        "exclude": _is_excluded,
    }


def _is_excluded(scope: MutableMapping[str, Any]) -> bool:
    return str(scope["path"]).startswith(_NOT_TRACED)
