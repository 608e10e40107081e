"""The page of saved components of all jobs, and the basket in which they are assembled."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query, Request
from pydantic import BeforeValidator
from sqlmodel import Session
from starlette.responses import Response

from app.auth.principals import Viewer
from app.http.errors import InvalidSpec, NotFound
from app.http.query_parameters import Cursor
from app.http.session import Configured, Reading
from app.jobs import references
from app.jobs.validation import parse_job
from app.results.components.queries import ComponentFilter, ComponentSort, component_with_job_name, list_all_components
from app.results.components.routes import Role
from app.results.components.schemas import ComponentView
from app.settings import Settings
from app.web.render import page
from app.web.routing import page_router
from app.web.views.assembly import Assembly, Picked, assemble
from core.spec import ARCHITECTURES
from core.spec.dataset import NAMED_DATASETS
from core.spec.fields import ONE_LINE

router = page_router()
# A form sends an empty text for a filter that is not used.
_BLANK = BeforeValidator(lambda value: value or None)
Text = Annotated[str | None, _BLANK, Query(max_length=200, pattern=ONE_LINE)]
Picks = Annotated[list[str], Query(max_length=70)]
MAX_PICKS = 66


@router.get("/ui/components")
def components_page(
    request: Request,
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    role: Annotated[Role | None, _BLANK, Query()] = None,
    arch: Text = None,
    dataset: Text = None,
    job: Text = None,
    q: Text = None,
    sort: ComponentSort = "-score",
    cursor: Cursor = None,
    pick: Picks = [],  # noqa: B006
) -> Response:
    """Components that match, best first, and the basket."""
    filters = {"role": role, "arch": arch, "dataset": dataset, "job": job, "q": q}
    listed = list_all_components(session, ComponentFilter(**filters), sort=sort, limit=50, cursor=cursor)
    items = [ComponentView.of(row, name) for row, name in listed["items"]]
    active = {name: value for name, value in filters.items() if value}
    basket = gather(session, settings, pick)
    query: list[tuple[str, str]] = [*active.items(), ("sort", sort), *(("pick", picked) for picked in basket.picks)]
    return page(
        request,
        "components/components.html",
        items=items,
        filters={name: value or "" for name, value in filters.items()},
        active=active,
        sort=sort,
        basket=basket,
        elsewhere=[picked for picked in basket.picks if picked not in {item.id for item in items}],
        first_url=f"/ui/components?{urlencode(query)}" if cursor else None,
        next_url=_next(query, listed["next_cursor"]),
        suggestions={"architectures": list(ARCHITECTURES), "datasets": list(NAMED_DATASETS)},
    )


def _next(query: list[tuple[str, str]], cursor: str | None) -> str | None:
    return f"/ui/components?{urlencode([*query, ('cursor', cursor)])}" if cursor else None


@router.get("/ui/-/components/basket")
def basket_fragment(
    request: Request,
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    pick: Picks = [],  # noqa: B006
) -> Response:
    """The bar of the basket with what fits and what does not."""
    return page(request, "components/_basket.html", basket=gather(session, settings, pick))


def gather(session: Session, settings: Settings, picks: list[str]) -> Assembly:
    """The components with these ids that exist, and whether they fit together."""
    items = []
    for picked in dict.fromkeys(picks[:MAX_PICKS]):
        try:
            items.append(Picked(*component_with_job_name(session, picked)))
        except NotFound:
            continue
    assembly = assemble(items)
    if assembly.experts and not assembly.problems:
        try:
            references.check(session, parse_job(settings, assembly.spec()))
        except InvalidSpec as problem:
            assembly.problems += _sentences(problem)
    return assembly


def _sentences(problem: InvalidSpec) -> list[str]:
    errors: list[dict[str, Any]] = problem.errors or [{"loc": [], "msg": problem.detail}]
    return [f"{'.'.join(map(str, error['loc'])).removesuffix('.from')}: {error['msg']}" for error in errors]
