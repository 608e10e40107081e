"""The logs of API and worker: one form for all records, whoever makes them, with ids and without secrets.

Modules log with `logging`. What they give as `extra`, the fields of `bound_contextvars` and those of the request that
is being served become fields of the record.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from app.operations.redaction import Redaction
from app.settings import Settings


@contextmanager
def _without_rich() -> Iterator[None]:
    if "rich" in sys.modules:
        yield
        return
    # structlog would import it for tracebacks in colour, which the logs do not have: 3 MB in each process.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["rich"]


with _without_rich():
    import structlog
    from structlog.contextvars import bound_contextvars, merge_contextvars
    from structlog.dev import ConsoleRenderer, plain_traceback
    from structlog.processors import JSONRenderer, TimeStamper, format_exc_info
    from structlog.stdlib import ExtraAdder, ProcessorFormatter, add_log_level, add_logger_name
    from structlog.typing import EventDict, Processor

__all__ = ["bound_contextvars", "configure_logging", "make_handler", "request_scope"]

# The ASGI scope of the request that is being served, whose `state` has its `request_id`.
request_scope: ContextVar[MutableMapping[str, Any] | None] = ContextVar("request_scope", default=None)

# Other libraries add fields of theirs, which may hold anything.
_ATTEMPT_FIELDS = ("job_id", "attempt", "executor", "state", "outcome", "reason")
_EXTRA_FIELDS = (*_ATTEMPT_FIELDS, "status", "duration_s", "rule", "bytes_freed")
_FIELD_ORDER = ("time", "level", "logger", "message", "request_id", "job_id", "attempt")
_JOB_ID = re.compile(r"job_[0-9A-HJKMNP-TV-Z]{26}")
# At `info` they log every message of the broker twice, and each plugin of the migrations.
_CHATTY_LOGGERS = ("celery.worker.strategy", "celery.app.trace", "alembic")
# Those that would otherwise keep handlers of their own.
_LIBRARY_LOGGERS = ("uvicorn", "uvicorn.error", "celery", "celery.task")


def configure_logging(settings: Settings) -> None:
    """Make all loggers of this process write to its standard error."""
    level = settings.log_level.upper()
    root = logging.getLogger()
    root.handlers = [make_handler(settings, sys.stderr)]
    root.setLevel(level)
    for name in _LIBRARY_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(level)
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def make_handler(settings: Settings, stream: TextIO) -> logging.Handler:
    """A handler that writes records to a stream in the form that the settings name."""
    handler = logging.StreamHandler(stream)
    renderer = _json() if settings.log_format == "json" else _console(colors=stream.isatty())
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[
                add_log_level,
                add_logger_name,
                TimeStamper(fmt="iso", utc=True, key="time"),
                ExtraAdder(_EXTRA_FIELDS),
                merge_contextvars,
                _add_request,
                _strip,
            ],
            processors=[ProcessorFormatter.remove_processors_meta, format_exc_info, Redaction(settings), *renderer],
        )
    )
    return handler


def _console(*, colors: bool) -> list[Processor]:
    return [
        ConsoleRenderer(
            colors=colors, exception_formatter=plain_traceback, timestamp_key="time", pad_event_to=0, sort_keys=False
        )
    ]


def _json() -> list[Processor]:
    return [structlog.processors.EventRenamer("message"), _ordered, JSONRenderer()]


def _add_request(_logger: Any, _method: str, event: EventDict) -> EventDict:
    scope = request_scope.get()
    if scope is not None:
        event["request_id"] = scope["state"]["request_id"]
        # Chosen by the client, and not checked yet.
        job_id = str(scope.get("path_params", {}).get("job_id"))
        if _JOB_ID.fullmatch(job_id):
            event.setdefault("job_id", job_id)
    return event


def _strip(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {**event, "event": str(event["event"]).strip()}


def _ordered(_logger: Any, _method: str, event: EventDict) -> EventDict:
    first = {name: event[name] for name in _FIELD_ORDER if name in event}
    return {**first, **event}
