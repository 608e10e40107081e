"""The error hierarchy of the API: every class is an RFC 9457 problem with a stable type, a status and a title."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self


class Problem(Exception):  # noqa: N818
    """An error that becomes the response to a request. `detail` says what to change, `errors` has one entry per field.

    `type`, `status` and `title` belong to the class; clients rely on `type`.
    """

    status: ClassVar[int] = 400
    type: ClassVar[str] = "bad-request"
    title: ClassVar[str] = "Bad request"

    def __init__(self, detail: str, *, errors: Sequence[dict[str, Any]] = (), headers: Mapping[str, str] | None = None):
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, errors: Sequence[dict[str, Any]]) -> Self:
        """The problem with these errors, each with `loc` and `msg`; its detail names the first five."""
        return cls(summarize(errors), errors=errors)

    def body(self) -> dict[str, Any]:
        """The problem as the body of a response."""
        body: dict[str, Any] = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": encodable(self.detail),
        }
        return body | {"errors": self.errors} if self.errors else body


class Invalid(Problem):
    """A parameter or a field of the body has a value that is not allowed."""

    status, type, title = 422, "invalid", "Invalid value"


class InvalidSpec(Problem):
    """The job specification fails validation, or names components that do not exist or do not fit."""

    status, type, title = 422, "invalid-spec", "Invalid job specification"


class Unauthenticated(Problem):
    """The request has no token, or one that is unknown, revoked or expired."""

    status, type, title = 401, "unauthenticated", "Authentication required"


class Forbidden(Problem):
    """The token is valid, but its role or owner does not permit the request."""

    status, type, title = 403, "forbidden", "Not permitted"


class QuotaExceeded(Forbidden):
    """The jobs of an owner store as much as the owner's quota allows."""

    status, type, title = 403, "quota-exceeded", "Quota exceeded"


class NotFound(Problem):
    """The resource does not exist, or is not visible to this principal."""

    status, type, title = 404, "not-found", "Not found"


class NotReady(NotFound):
    """What is requested of an existing job is not there in its present state: its result, predictions, components."""

    status, type, title = 404, "not-ready", "Not there yet"


class MethodNotAllowed(Problem):
    """The path exists, but not with this method."""

    status, type, title = 405, "method-not-allowed", "Method not allowed"


class RequestTimeout(Problem):
    """The headers or the body of a request did not arrive in time."""

    status, type, title = 408, "timeout", "The request did not arrive in time"


class Conflict(Problem):
    """The current state of the resource forbids the request."""

    status, type, title = 409, "conflict", "Conflict with the current state"


class IdempotencyMismatch(Conflict):
    """An Idempotency-Key was sent again with a different body."""

    type, title = "idempotency-mismatch", "Idempotency-Key already used for another request"


class TooLarge(Problem):
    """The request body exceeds the limit."""

    status, type, title = 413, "too-large", "Request body too large"


class RangeOutsideFile(Problem):
    """The `Range` of a download begins after the end of the file; `Content-Range` has the file's size."""

    status, type, title = 416, "range-outside-file", "Range outside the file"


class TooManyRequests(Problem):
    """Too many unknown or expired tokens came from this address; `Retry-After` says when to try again."""

    status, type, title = 429, "too-many-requests", "Too many failed attempts"


class HeadersTooLarge(Problem):
    """The request line and headers exceed the limit."""

    status, type, title = 431, "headers-too-large", "Request headers too large"


class Internal(Problem):
    """A bug of the service; the log has the traceback."""

    status, type, title = 500, "internal", "Internal error"


class Unavailable(Problem):
    """A part of the service is unreachable or busy; the request may be repeated."""

    status, type, title = 503, "unavailable", "Service unavailable"


PROBLEMS: tuple[type[Problem], ...] = (
    Problem, Invalid, InvalidSpec, Unauthenticated, Forbidden, QuotaExceeded, NotFound, NotReady, MethodNotAllowed,
    RequestTimeout, Conflict, IdempotencyMismatch, TooLarge, RangeOutsideFile, TooManyRequests, HeadersTooLarge,
    Internal, Unavailable,
)  # fmt: skip


def summarize(errors: Sequence[Mapping[str, Any]]) -> str:
    """The first five field errors in one line."""
    return "; ".join(f"{'.'.join(map(str, entry['loc'])) or 'body'}: {entry['msg']}" for entry in errors[:5])


def encodable(value: Any) -> Any:
    """Text that UTF-8 can encode, with lone surrogates replaced; other values unchanged."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
