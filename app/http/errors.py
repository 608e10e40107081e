"""Errors as RFC 9457 problems: a stable type, and a detail that says what to change."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from core.spec.fields import in_words

log = logging.getLogger(__name__)
# Errors listed in one response.
MAX_ERRORS = 50


class Problem(Exception):  # noqa: N818
    """An error that is the answer to a request."""

    status: ClassVar[int] = 400
    type: ClassVar[str] = "bad-request"
    title: ClassVar[str] = "The request cannot be understood"

    def __init__(self, detail: str, *, errors: Sequence[dict[str, Any]] = (), headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers or {}

    @classmethod
    def of(cls, errors: Sequence[dict[str, Any]]) -> Self:
        """The problem whose detail tells the first of these errors, each with `loc` and `msg`."""
        return cls(_told(errors), errors=errors)


def _told(errors: Sequence[dict[str, Any]]) -> str:
    return "; ".join(f"{'.'.join(map(str, entry['loc'])) or 'body'}: {entry['msg']}" for entry in errors[:5])


class Invalid(Problem):
    """A value that cannot be; `errors` has an entry a field."""

    status, type, title = 422, "invalid", "A value is not allowed"


class InvalidSpec(Problem):
    """A job specification that cannot be used."""

    status, type, title = 422, "invalid-spec", "The job specification cannot be used"


class Unauthenticated(Problem):
    """No token, or none that is known and in force."""

    status, type, title = 401, "unauthenticated", "A token is needed"


class Forbidden(Problem):
    """A token that may not do this."""

    status, type, title = 403, "forbidden", "This token may not do that"


class NotFound(Problem):
    """Something that is not there."""

    status, type, title = 404, "not-found", "There is no such thing"


class Conflict(Problem):
    """What the present state does not allow."""

    status, type, title = 409, "conflict", "The present state does not allow that"


class IdempotencyMismatch(Conflict):
    """A key that was used for another body."""

    type, title = "idempotency-mismatch", "This Idempotency-Key was used for another request"


class Unavailable(Problem):
    """Something that the service needs cannot be reached; trying again helps."""

    status, type, title = 503, "unavailable", "A part of the service cannot be reached"


PROBLEMS: tuple[type[Problem], ...] = (
    Problem, Invalid, InvalidSpec, Unauthenticated, Forbidden, NotFound, Conflict, IdempotencyMismatch, Unavailable,
)  # fmt: skip


def install(app: FastAPI) -> None:
    """Answers every error as a problem."""

    @app.exception_handler(Problem)
    def _problem(_request: Request, error: Problem) -> JSONResponse:
        return answer(error.status, error.type, error.title, error.detail, error.errors, error.headers)

    @app.exception_handler(RequestValidationError)
    def _validation(_request: Request, error: RequestValidationError) -> JSONResponse:
        # The default handler echoes the input, which may hold what JSON cannot.
        entries = error.errors()
        errors = [_entry(entry) for entry in entries[:MAX_ERRORS]] + _more(len(entries))
        return answer(422, Invalid.type, Invalid.title, _told(errors), errors)

    @app.exception_handler(HTTPException)
    def _http(_request: Request, error: HTTPException) -> JSONResponse:
        slugs = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
        slug = slugs.get(error.status_code, "bad-request")
        headers = dict(error.headers or {})
        title = detail = str(error.detail)
        if error.status_code == 404:
            detail = "there is no such route: /docs and /openapi.json list those that there are"
        elif error.status_code == 405:
            detail = f"this route takes {headers.get('allow', 'another method')}"
        return answer(error.status_code, slug, title, detail, headers=headers)

    @app.exception_handler(OperationalError)
    def _database(_request: Request, error: OperationalError) -> JSONResponse:
        log.error("the database cannot be used: %s", error)
        detail = "the database cannot be reached at the moment: nothing was changed, try again"
        return answer(503, Unavailable.type, Unavailable.title, detail, headers={"Retry-After": "2"})


def _more(count: int) -> list[dict[str, Any]]:
    """An entry that says how many of these errors are not listed."""
    return [{"loc": [], "msg": f"there are {count - MAX_ERRORS:,} more errors"}] if count > MAX_ERRORS else []


def answer(
    status: int,
    slug: str,
    title: str,
    detail: str,
    errors: Sequence[dict[str, Any]] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """A problem as a response."""
    body: dict[str, Any] = {"type": slug, "title": title, "status": status, "detail": _plain(detail)}
    if errors:
        body["errors"] = list(errors)
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    if entry["type"] == "json_invalid":
        return {
            "loc": ["body"],
            "msg": f"is not JSON: {_plain(entry['ctx']['error'])}, at character {entry['loc'][-1]}",
        }
    return {"loc": [_plain(part) for part in entry["loc"]], "msg": _plain(in_words(entry))}


def _plain(value: Any) -> Any:
    """Text that can be sent: lone surrogates are replaced."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
