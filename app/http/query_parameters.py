"""The query parameters of lists, and a dependency of all routes that refuses unknown ones."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.http import patterns
from app.http.errors import Invalid, encodable

# A route names the beginnings of further parameters, such as `at.`, under this key of its `openapi_extra`.
PREFIXES = "x-query-prefixes"

Limit = Annotated[int, Query(ge=1, le=200, description="maximum number of items")]
# Enough for a name of 200 characters of four bytes and an id.
MAX_CURSOR = 1500
Cursor = Annotated[
    str | None,
    Query(max_length=MAX_CURSOR, pattern=patterns.CURSOR, description="`next_cursor` of the previous page"),
]


async def refuse_unknown_parameters(request: Request) -> None:
    """Invalid for a query parameter that the route does not have: a misspelt filter must not go unnoticed."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or not request.query_params:
        return
    known = {field.alias for dependant in _flatten(route.dependant) for field in dependant.query_params}
    prefixes = tuple((route.openapi_extra or {}).get(PREFIXES, ()))
    unknown = sorted(name for name in request.query_params.keys() - known if not name.startswith(prefixes))
    if unknown:
        allowed = f"this route takes {', '.join(sorted(known))}" if known else "this route takes none"
        msg = f"unknown query parameter; {allowed}"
        raise Invalid.of([{"loc": ["query", encodable(name[:80])], "msg": msg} for name in unknown[:5]])


def _flatten(dependant: Dependant) -> list[Dependant]:
    return [dependant, *(inner for child in dependant.dependencies for inner in _flatten(child))]
