"""The list of sweeps."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import Response

from app.auth.principals import Viewer
from app.http.query_parameters import Cursor
from app.http.session import Reading
from app.sweeps import queries
from app.sweeps.views import sweep_page
from app.web.render import page
from app.web.routing import FOLLOWS, page_router
from app.web.views.sweep_counts import shares

router = page_router()
PAGE_SIZE = 50


@router.get("/ui/sweeps", dependencies=FOLLOWS)
def sweeps_page(request: Request, principal: Viewer, session: Reading, cursor: Cursor = None) -> Response:
    """All sweeps, newest first."""
    return _list(request, session, cursor, "sweeps/list.html")


@router.get("/ui/-/sweeps")
def sweeps_fragment(request: Request, principal: Viewer, session: Reading, cursor: Cursor = None) -> Response:
    """The same list without the page around it."""
    return _list(request, session, cursor, "sweeps/_list.html")


def _list(request: Request, session: Reading, cursor: str | None, template: str) -> Response:
    sweeps = sweep_page(session, limit=PAGE_SIZE, cursor=cursor)
    return page(
        request,
        template,
        sweeps=sweeps.items,
        shares={sweep.id: shares(sweep) for sweep in sweeps.items},
        best=queries.best_scores(session, [sweep.id for sweep in sweeps.items]),
        cursor=cursor,
        query=f"?{urlencode({'cursor': cursor})}" if cursor else "",
        next_cursor=sweeps.next_cursor,
    )
