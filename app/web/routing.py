"""Routes of pages: forms are checked for their CSRF token, and errors become pages instead of JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.http.error_handlers import DATABASE_ERRORS, database_unavailable, internal_error
from app.http.errors import Invalid, Problem
from app.http.session import Reading
from app.streams.queries import latest_event_id
from app.web.csrf import check_csrf
from app.web.render import page
from app.web.session import session_secret
from core.spec.fields import in_words

log = logging.getLogger(__name__)


def _note_latest_event(request: Request, session: Reading) -> None:
    request.state.since = latest_event_id(session)


# For pages that follow events: the stream begins with what came while the page was read and shown.
FOLLOWS = [Depends(_note_latest_event)]


class PageRoute(APIRoute):
    """A route of a page: it checks the CSRF token of forms, and shows errors as pages instead of JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with the check before it and error pages around it."""
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                if not request.url.path.startswith("/login"):
                    await check_csrf(request, session_secret(request))
                return await handle(request)
            except Problem as problem:
                return error_page(request, problem)
            except RequestValidationError as error:
                fields = "; ".join(
                    f"{'.'.join(map(str, entry['loc'][1:]))}: {in_words(entry)}" for entry in error.errors()
                )
                return error_page(request, Invalid(f"this request is not valid: {fields[:500]}"))
            except DATABASE_ERRORS as error:
                return error_page(request, database_unavailable(error))
            except HTTPException as error:
                return error_page(request, Problem(str(error.detail)), error.status_code)
            except Exception:
                log.exception("the page %s failed", request.url.path)
                return error_page(request, Problem(internal_error(request)), 500)

        return handle_page


def error_page(request: Request, problem: Problem, status: int | None = None) -> Response:
    """A page that says what is wrong; for a fragment, an alert that leaves the page as it is."""
    return render_error(request, problem.title, problem.detail, status or problem.status, problem.headers)


def render_error(request: Request, title: str, detail: str, status: int, headers: Mapping[str, str]) -> Response:
    """What `error_page` shows, for a problem of which only the response is known."""
    is_fragment = "hx-request" in request.headers
    template = "_partials/alert.html" if is_fragment else "error.html"
    can_reload = status == 503 and request.method in ("GET", "HEAD")
    response = page(request, template, status=status, title=title, detail=detail, code=status, can_reload=can_reload)
    response.headers.update(headers)
    if is_fragment:
        response.headers.update({"HX-Retarget": "#alerts", "HX-Reswap": "innerHTML"})
    return response


def page_router(**options: Any) -> APIRouter:
    """A router for pages, which the API description leaves out."""
    return APIRouter(route_class=PageRoute, include_in_schema=False, **options)
