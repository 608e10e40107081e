"""The page of one sweep: counts, heat map, parallel coordinates, leaderboard, points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from sqlmodel import Session
from starlette.responses import RedirectResponse, Response

from app.auth.principals import Member, Principal, Viewer
from app.http.query_parameters import PREFIXES, Cursor
from app.http.session import Configured, Reading, Writing
from app.models import TERMINAL_STATES, State
from app.results.metrics.scores import accuracy_key
from app.results.predictions.wording import p_text
from app.settings import Settings
from app.sweeps import queries, ranking, service
from app.sweeps.grid import MAX_POINTS, SEEDS
from app.sweeps.routes import Metric, SweepId
from app.sweeps.schemas import SweepView
from app.sweeps.views import compared_view, point_page, sweep_view
from app.web.render import page
from app.web.routing import FOLLOWS, page_router
from app.web.views import words
from app.web.views.heatmap import heat_map
from app.web.views.job_actions import may_change
from app.web.views.parallel import parallel
from app.web.views.selection import compare_url
from app.web.views.sweep_best import best_of
from app.web.views.sweep_counts import shares
from app.web.views.sweep_fields import Layout, address_value, label, layout, short_names

router = page_router()
FieldName = Annotated[str | None, Query(max_length=200)]
# One value of each field that is neither in the rows nor in the columns: at.training.epochs=10
AT = "at."
AT_FIELDS: dict[str, Any] = {PREFIXES: [AT]}
MAX_LEADERBOARD, MAX_DECISIONS, POINTS_PER_PAGE = 50, 50, 50
COMPARED = 5
# With more jobs than these, the page follows the events of all jobs: their names would not fit an address.
MAX_FOLLOWED = 60
EVENT_TYPES = ("state", "component", "rung")


@dataclass(frozen=True)
class Shown:
    """Which part of the results is shown, as the address says."""

    rows: str | None
    cols: str | None
    metric: str | None
    cursor: str | None
    at: dict[str, str]


def _shown(
    request: Request,
    rows: FieldName = None,
    cols: FieldName = None,
    metric: Metric = None,
    cursor: Cursor = None,
) -> Shown:
    at = {name.removeprefix(AT): value for name, value in request.query_params.items() if name.startswith(AT)}
    return Shown(rows, cols, metric, cursor, at)


InAddress = Annotated[Shown, Depends(_shown)]


@router.get("/ui/sweeps/{sweep_id}", dependencies=FOLLOWS, openapi_extra=AT_FIELDS)
def sweep_page(
    request: Request,
    sweep_id: SweepId,
    principal: Viewer,
    session: Reading,
    settings: Configured,
    shown: InAddress,
) -> Response:
    """A sweep with its results."""
    return page(request, "sweeps/sweep.html", **_context(session, settings, principal, sweep_id, shown))


@router.get("/ui/-/sweeps/{sweep_id}/counts")
def counts_fragment(request: Request, sweep_id: SweepId, principal: Viewer, session: Reading) -> Response:
    """The counts by state, and what can be done."""
    view = sweep_view(session, queries.get_sweep(session, sweep_id))
    return page(request, "sweeps/_counts.html", **_summary(view, principal))


@router.get("/ui/-/sweeps/{sweep_id}/results", openapi_extra=AT_FIELDS)
def results_fragment(
    request: Request,
    sweep_id: SweepId,
    principal: Viewer,
    session: Reading,
    settings: Configured,
    shown: InAddress,
) -> Response:
    """Heat map, parallel coordinates, leaderboard, decisions of early stopping and points."""
    return page(request, "sweeps/_results.html", **_context(session, settings, principal, sweep_id, shown))


@router.post("/ui/sweeps/{sweep_id}/cancel")
def cancel(sweep_id: SweepId, principal: Member, session: Writing, settings: Configured) -> Response:
    """Cancel the jobs of a sweep that have not ended."""
    sweep = service.cancel(session, settings, principal, sweep_id)
    return RedirectResponse(f"/ui/sweeps/{sweep.id}", 303)


@router.post("/ui/sweeps/{sweep_id}/retry")
def retry(sweep_id: SweepId, principal: Member, session: Writing, settings: Configured) -> Response:
    """Queue the failed and cancelled jobs of a sweep again."""
    sweep = service.retry(session, settings, principal, sweep_id)
    return RedirectResponse(f"/ui/sweeps/{sweep.id}", 303)


def _context(session: Session, settings: Settings, principal: Principal, sweep_id: str, shown: Shown) -> dict[str, Any]:
    sweep = queries.get_sweep(session, sweep_id)
    view = compared_view(session, settings, sweep, shown.metric or None)
    best = next((row.values for row in view.leaderboard if row.mean is not None), {})
    chosen = layout(view.grid, shown.rows or None, shown.cols or None, shown.at, best)
    points = point_page(session, sweep, metric=view.metric, mode=None, limit=MAX_POINTS, cursor=None).items
    listed = point_page(session, sweep, metric=view.metric, mode=None, limit=POINTS_PER_PAGE, cursor=shown.cursor)
    decisions = queries.list_decisions(session, view.id, limit=MAX_DECISIONS) if view.early_stopping else []
    names = short_names(list(view.grid))
    return {
        **_summary(view, principal),
        "names": names,
        "best": best_of(view.leaderboard, points, view.better) if view.better else None,
        "has_seeds": any(path in SEEDS for path in view.grid),
        "places": words.decimals((point.value for point in points), view.metric),
        "run_values": {point.job: point.value for point in points},
        "averaged": any(path in SEEDS and path not in (chosen.rows, chosen.cols) for path in view.grid),
        "layout": chosen,
        "query": _query(view, chosen, shown.cursor),
        "next_url": f"/ui/sweeps/{view.id}?{_query(view, chosen, listed.next_cursor)}" if listed.next_cursor else None,
        "first_url": f"/ui/sweeps/{view.id}?{_query(view, chosen, None)}" if shown.cursor else None,
        "fields": list(view.grid),
        "options": {path: _options(view, path, index) for path, index in chosen.at.items()},
        "metrics": _metrics(session, view),
        "heat": heat_map(view.grid, points, chosen, view.mode),
        "parallel": parallel(view.grid, view.leaderboard, names, view.metric, view.mode)
        if sum(path not in SEEDS for path in view.grid) > 2
        else None,
        "leaderboard": view.leaderboard[:MAX_LEADERBOARD],
        "has_test": view.metric != accuracy_key(view.base.get("kind"), "test")
        and any(row.test_accuracy is not None for row in view.leaderboard),
        "has_differences": any(row.difference for row in view.leaderboard),
        "p_text": p_text,
        "num_rows": len(view.leaderboard),
        "compare": compare_url([row.best for row in view.leaderboard[:COMPARED] if row.best]),
        "csv": f"/sweeps/{view.id}/leaderboard.csv?{urlencode({'metric': view.metric})}",
        "decisions": decisions,
        "decision_places": words.decimals(
            (event.data["value"] for event, _ in decisions), decisions[0][0].data["metric"] if decisions else ""
        ),
        "points": listed.items,
        "stream": _stream([point.job for point in points if point.job]),
    }


def _summary(view: SweepView, principal: Principal) -> dict[str, Any]:
    finished = sum(view.counts[state] for state in TERMINAL_STATES)
    retryable = view.counts[State.failed] + view.counts[State.cancelled] - view.stopped_early + view.missing
    return {
        "sweep": view,
        "shares": shares(view),
        "label": label,
        "finished": finished,
        "retryable": max(0, retryable),
        "active": view.count - finished - view.missing,
        "may_change": may_change(principal, view.owner),
    }


def _query(view: SweepView, chosen: Layout, cursor: str | None) -> str:
    """The address of exactly what is shown: a fragment must not change its slice when another point becomes best."""
    fields = {"rows": chosen.rows, "cols": chosen.cols, "metric": view.metric}
    fields |= {AT + path: address_value(view.grid, path, index) for path, index in chosen.at.items()}
    return urlencode({name: value for name, value in (fields | {"cursor": cursor}).items() if value})


def _options(view: SweepView, path: str, chosen: int) -> list[tuple[str, str, bool]]:
    """The values of a field for a select: for the address, for people, and whether it is the chosen one."""
    return [
        (address_value(view.grid, path, index), label(value)[:80], index == chosen)
        for index, value in enumerate(view.grid[path])
    ]


def _metrics(session: Session, view: SweepView) -> list[str]:
    compared = [key for key in queries.metric_keys(session, view.id) if key.startswith(("val/", "test/", "train/"))]
    # Before the first values there are no keys yet.
    common = {ranking.choose(view.base.get("kind"), part=part)[0] for part in ("val", "test")}
    return sorted({*compared, *common, view.metric})


def _stream(jobs: list[str]) -> str:
    parameters = [("job", job) for job in dict.fromkeys(jobs)]
    if len(parameters) > MAX_FOLLOWED:
        parameters = []
    return "/events?" + urlencode([*parameters, *(("type", name) for name in EVENT_TYPES)])
