"""Turns every exception of the application into a problem response."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, IntegrityError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.types import Scope

from app.http import errors, patterns
from app.http.errors import Problem, encodable
from app.http.request_bodies import MAX_BODY_BYTES
from app.http.responses import answer_problem
from app.http.security_headers import add_security_headers
from core.spec.fields import in_words

log = logging.getLogger(__name__)
# The server is unreachable or busy; no connection of the pool became free in time.
DATABASE_ERRORS = (OperationalError, InternalError, PoolTimeoutError)
# Errors listed in one response.
MAX_ERRORS = 50
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def install(app: FastAPI) -> None:
    """Register the handlers."""

    @app.exception_handler(Problem)
    def _problem(_request: Request, error: Problem) -> Response:
        return answer_problem(error)

    @app.exception_handler(RequestValidationError)
    def _validation(_request: Request, error: RequestValidationError) -> Response:
        # FastAPI's own handler repeats the input, which may contain secrets or values that JSON cannot express.
        entries = error.errors()
        listed = [_field_error(entry) for entry in entries[:MAX_ERRORS]]
        if len(entries) > MAX_ERRORS:
            listed.append({"loc": [], "msg": f"there are {len(entries) - MAX_ERRORS:,} more errors"})
        return answer_problem(errors.Invalid.of(listed))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        return _translate(request, error)

    @app.exception_handler(ClientDisconnect)
    def _disconnected(_request: Request, _error: ClientDisconnect) -> Response:
        return answer_problem(Problem("the client closed the connection before it had sent the whole body"))

    for unavailable in DATABASE_ERRORS:

        @app.exception_handler(unavailable)
        def _database(_request: Request, error: Exception) -> Response:
            return answer_problem(database_unavailable(error))

    @app.exception_handler(IntegrityError)
    def _changed(_request: Request, _error: IntegrityError) -> Response:
        return answer_problem(
            errors.Conflict("what this refers to was changed at the same moment; nothing was stored: try again")
        )

    @app.exception_handler(Exception)
    def _bug(request: Request, _error: Exception) -> Response:
        # Runs outside all middleware, so it adds the headers itself. Starlette raises the exception again for the log.
        response = answer_problem(errors.Internal(internal_error(request)))
        add_security_headers(response.headers)
        response.headers["X-Request-ID"] = request.state.request_id
        return response


def internal_error(request: Request) -> str:
    """What a client is told about a defect, and whoever looks for it in the log."""
    return f"an error in the service; its log has the details of the request {request.state.request_id}"


def database_unavailable(error: Exception) -> Problem:
    """Log why the database failed; returns a problem that tells the client to try again."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    reason = str(cause).strip().partition("\n")[0]
    log.error("the database is not available: %s", reason)
    if "lock timeout" in reason:
        detail = "another change of the same thing is taking long; nothing was changed, try again"
    elif _is_full(cause):
        detail = (
            "the disk of the database is full; nothing was changed: make room on it, first with files of other "
            "programs, then by deleting jobs that are no longer needed, and try again"
        )
    else:
        detail = "the database is not available at the moment; nothing was changed, try again"
    return errors.Unavailable(detail, headers={"Retry-After": "2"})


def _is_full(cause: object) -> bool:
    """Whether a driver reports that its database has no space to write to: by its own code, or PostgreSQL's."""
    is_full = getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return is_full or getattr(cause, "sqlstate", None) == "53100"


def _translate(request: Request, error: HTTPException) -> Response:
    """The response to an exception of Starlette or FastAPI themselves."""
    if error.status_code == 405:
        allow = ", ".join([*allowed_methods(request.app, request.scope), "OPTIONS"])
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allow})
        return answer_problem(errors.MethodNotAllowed(f"this path allows {allow}", headers={"Allow": allow}))
    make = _BY_STATUS.get(error.status_code)
    problem = make(str(error.detail)) if make else Problem(str(error.detail))
    response = answer_problem(problem)
    response.headers.update(error.headers or {})
    return response


_BY_STATUS: dict[int, Callable[[str], Problem]] = {
    400: lambda _: Problem("the body cannot be read: send JSON in UTF-8"),
    404: lambda _: errors.NotFound("no such route: see /docs or /openapi.json for the routes"),
    413: lambda _: errors.TooLarge(f"the body exceeds {MAX_BODY_BYTES:,} bytes"),
    422: errors.Invalid,
}


def allowed_methods(app: FastAPI, scope: Scope) -> list[str]:
    """The methods for which some route matches the path of a request."""
    routes = [route for route in app.router.routes if not isinstance(route, Mount)]
    allowed = [
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return allowed or ["GET", "HEAD"]


def _field_error(entry: dict[str, Any]) -> dict[str, Any]:
    if entry["type"] == "json_invalid":
        msg = f"is not valid JSON: {encodable(entry['ctx']['error'])}, at character {entry['loc'][-1]}"
        return {"loc": ["body"], "msg": msg}
    return {"loc": [encodable(part) for part in entry["loc"]], "msg": encodable(in_words(entry, patterns.MESSAGES))}
