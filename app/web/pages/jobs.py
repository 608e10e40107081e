"""The list of jobs: filters, counts by state, and actions on several jobs at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Depends, Form, Query, Request
from sqlmodel import Session
from starlette.responses import RedirectResponse, Response

from app.auth.principals import Member, Viewer
from app.http.query_parameters import Cursor
from app.http.session import Reading
from app.jobs.list_queries import NO_SWEEP, JobFilter, SortName, count_jobs, list_jobs
from app.jobs.list_schemas import JobCounts
from app.jobs.routes import Filter
from app.jobs.schemas import Kind
from app.models import State
from app.results.metrics.spark import sparklines
from app.web.bulk import ACTIONS, apply_to_jobs, confirmation
from app.web.render import page
from app.web.routing import FOLLOWS, page_router
from app.web.views.job_columns import COLUMNS, DEFAULT_SORT, columns_of, headers
from app.web.views.row import row
from app.web.views.selection import compare_url, selection_query

router = page_router()
ROWS = 50
PILLS: tuple[tuple[str, tuple[State, ...]], ...] = (
    ("running", (State.running, State.starting, State.pausing, State.cancelling)),
    ("queued", (State.queued,)),
    ("waiting", (State.waiting,)),
    ("paused", (State.paused,)),
    ("failed", (State.failed,)),
    ("succeeded", (State.succeeded,)),
    ("cancelled", (State.cancelled,)),
)


@dataclass(frozen=True)
class Shown:
    """What the list shows, and how, as the address says."""

    filters: JobFilter
    states: list[State]
    sort: SortName
    columns: list[str]
    cursor: str | None


def _shown(
    state: Annotated[list[State] | None, Query()] = None,
    kind: Kind | Literal[""] | None = None,
    tag: Filter = None,
    sweep: Filter = None,
    owner: Filter = None,
    q: Filter = None,
    sort: SortName = DEFAULT_SORT,
    cols: Annotated[list[str] | None, Query(max_length=20)] = None,
    cursor: Cursor = None,
) -> Shown:
    filters = JobFilter(kind=kind or None, tag=tag, sweep=sweep, owner=owner, q=q)
    return Shown(filters, state or [], sort, cols or [], cursor)


InAddress = Annotated[Shown, Depends(_shown)]


@router.get("/ui/jobs", dependencies=FOLLOWS)
def jobs_page(request: Request, _principal: Viewer, session: Reading, shown: InAddress) -> Response:
    """The whole page."""
    return page(request, "jobs/jobs.html", **_context(session, shown))


@router.get("/ui/-/jobs")
def jobs_fragment(request: Request, _principal: Viewer, session: Reading, shown: InAddress) -> Response:
    """The counts and rows alone, for updates."""
    return page(request, "jobs/list.html", **_context(session, shown))


def _context(session: Session, shown: Shown) -> dict[str, Any]:
    filters, states, sort, cursor = shown.filters, shown.states, shown.sort, shown.cursor
    jobs = list_jobs(session, filters, states=states, sort=sort, limit=ROWS, cursor=cursor)
    sparks = sparklines(session, {job.id: job.kind for job in jobs.items})
    address = Address(shown)
    columns = columns_of(shown.columns, sort)
    return {
        "rows": [row(job, sparks.get(job.id, [])) for job in jobs.items],
        "pills": _pills(count_jobs(session, filters), states, address),
        "filters": filters,
        "without_runs": filters.sweep == NO_SWEEP,
        "with_runs_url": address(sweep=None),
        "without_runs_url": address(sweep=NO_SWEEP),
        "is_filtered": any(vars(filters).values()) or bool(states),
        "states": [state.value for state in states],
        "sort": sort,
        "default_sort": DEFAULT_SORT,
        "headers": [(header, header.order and address(sort=header.order)) for header in headers(columns, sort)],
        "columns": columns,
        "all_columns": COLUMNS,
        "first_url": address() if cursor else "",
        "next_url": address(cursor=jobs.next_cursor) if jobs.next_cursor else "",
        "fragment_url": address("/ui/-/jobs", cursor=cursor),
        "actions": ACTIONS,
    }


class Address:
    """Addresses of the list as it is shown, from its first page on, with some parameters changed."""

    def __init__(self, shown: Shown) -> None:
        states = [state.value for state in shown.states]
        self._parameters = vars(shown.filters) | {"state": states, "sort": shown.sort, "cols": shown.columns}

    def __call__(self, base: str = "/ui/jobs", **changes: Any) -> str:
        parameters = {name: value for name, value in (self._parameters | changes).items() if value}
        if parameters.get("sort") == DEFAULT_SORT:
            del parameters["sort"]
        query = urlencode(parameters, doseq=True)
        return f"{base}?{query}" if query else base


def _pills(counts: JobCounts, states: Sequence[State], address: Address) -> list[dict[str, Any]]:
    """The filters by state with the number of jobs in each."""
    total = sum(counts.counts.values())
    at_limit = any(number >= counts.limit for number in counts.counts.values())
    pills = [{"name": "all", "n": _number(total, at_limit), "url": address(state=None), "current": not states}]
    for name, members in PILLS:
        number = sum(counts.counts[state] for state in members)
        reached = any(counts.counts[state] >= counts.limit for state in members)
        url = address(state=[state.value for state in members])
        pills.append({"name": name, "n": _number(number, reached), "url": url, "current": set(states) == set(members)})
    return pills


def _number(number: int, is_at_limit: bool) -> str:
    short = f"{number // 1000}k" if number >= 10_000 else f"{number:,}"
    return short + ("+" if is_at_limit else "")


@router.post("/ui/jobs/bulk")
def bulk(
    request: Request,
    principal: Member,
    do: Annotated[str, Form(max_length=20)],
    job: Annotated[list[str], Form()] = [],  # noqa: B006
    confirmed: Annotated[bool, Form()] = False,
) -> Response:
    """Do something with the selected jobs, and say for each how it went."""
    ids = list(dict.fromkeys(job))[:200]
    if do == "compare" and ids:
        return RedirectResponse(compare_url(ids) or f"/ui/compare?{selection_query([(ids[0], 0)])}", 303)
    if do == "delete" and ids and not confirmed:
        return page(request, "jobs/confirm.html", **confirmation(request, ids))
    outcomes = apply_to_jobs(request, principal, do, ids)
    return page(request, "jobs/outcomes.html", do=ACTIONS.get(do, do), outcomes=outcomes)
