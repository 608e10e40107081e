"""The routes under /sweeps."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.auth.principals import Member, Principal, Viewer
from app.db import reading, transaction
from app.http.idempotency import IdempotencyKey
from app.http.query_parameters import Cursor, Limit
from app.http.responses import json_response
from app.http.session import Configured, Reading, Writing
from app.jobs.quotas import require_space
from app.jobs.validation import parse_body
from app.results.metrics.directions import Mode
from app.settings import Settings
from app.sweeps import grid, queries, ranking, schemas, service
from app.sweeps.examples import SWEEP_BODY
from app.sweeps.placement import plan
from app.sweeps.validation import parse_sweep
from app.sweeps.views import compared_view, point_page, sweep_page, sweep_view
from core.spec.fields import ONE_LINE

router = APIRouter(prefix="/sweeps", tags=["sweeps"])
SweepId = Annotated[str, Path(max_length=64, description="`swp_` and 26 characters")]
Metric = Annotated[str | None, Query(min_length=1, max_length=200, pattern=ONE_LINE)]
Baseline = Annotated[
    str | None,
    Query(
        max_length=64,
        description="A job of the row from which differences are taken; by default the first row",
    ),
]


@router.post(
    "",
    status_code=201,
    response_model=schemas.SweepView,
    openapi_extra=SWEEP_BODY,
    responses={200: {"model": schemas.SweepView | schemas.SweepDryRun}},
)
async def post_sweep(
    request: Request,
    principal: Member,
    settings: Configured,
    dry_run: bool = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a job for every point of a grid. A point that equals an existing job reuses it."""
    body = await request.body()
    return await run_in_threadpool(_post, request, principal, body, settings, dry_run, idempotency_key)


def _post(
    request: Request, principal: Principal, body: bytes, settings: Settings, dry_run: bool, key: str | None
) -> Response:
    new_sweep = parse_sweep(parse_body(body))
    # Before the transaction, for which every other writer has to wait.
    planned = plan(settings, new_sweep.name, new_sweep.base, new_sweep.grid, list(grid.points(new_sweep.grid)))
    if dry_run:
        with reading(request.app.state.engine) as session:
            require_space(session, principal.owner)
            return json_response(service.preview(session, settings, new_sweep, planned))
    with transaction(request.app.state.engine) as session:
        sweep, is_new = service.create(session, settings, principal, new_sweep, planned, key=key, body=body)
        view = sweep_view(session, sweep)
    return json_response(view, 201 if is_new else 200, {"Location": f"/sweeps/{view.id}"})


@router.get("")
def get_sweeps(_principal: Viewer, session: Reading, limit: Limit = 50, cursor: Cursor = None) -> schemas.SweepPage:
    """List sweeps, newest first."""
    return sweep_page(session, limit=limit, cursor=cursor)


def _compared(
    sweep_id: SweepId,
    session: Reading,
    settings: Configured,
    metric: Metric = None,
    mode: Mode | None = None,
    baseline: Baseline = None,
) -> schemas.SweepView:
    return compared_view(session, settings, queries.get_sweep(session, sweep_id), metric, mode, baseline=baseline)


Compared = Annotated[schemas.SweepView, Depends(_compared)]


@router.get("/{sweep_id}")
def get_sweep(_principal: Viewer, view: Compared) -> schemas.SweepView:
    """Show a sweep: how many of its points are in which state, and its leaderboard by a metric."""
    return view


@router.get(
    "/{sweep_id}/leaderboard.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def get_leaderboard(_principal: Viewer, view: Compared) -> Response:
    """Download the leaderboard of a sweep as CSV, with one column per swept field.

    `mean`, `std`, `low` and `high` are over the `n` runs of a row: of each the best value over all epochs of a metric
    of validation, and the last value of any other one. `test_accuracy` is that of the components that were saved.
    """
    headers = {"Content-Disposition": f'attachment; filename="{view.id}.csv"'}
    return Response(ranking.as_csv(view.leaderboard, view.grid, view.metric), media_type="text/csv", headers=headers)


@router.get("/{sweep_id}/points")
def get_points(
    sweep_id: SweepId,
    _principal: Viewer,
    session: Reading,
    metric: Metric = None,
    mode: Mode | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> schemas.PointPage:
    """List the points of a sweep with their jobs, in the order of the grid."""
    sweep = queries.get_sweep(session, sweep_id)
    return point_page(session, sweep, metric=metric, mode=mode, limit=limit, cursor=cursor)


@router.post("/{sweep_id}/cancel", status_code=202)
def cancel(sweep_id: SweepId, principal: Member, session: Writing, settings: Configured) -> schemas.SweepView:
    """Cancel every job that the sweep created. What they have trained so far is kept."""
    return sweep_view(session, service.cancel(session, settings, principal, sweep_id))


@router.post("/{sweep_id}/retry", status_code=202)
def retry(sweep_id: SweepId, principal: Member, session: Writing, settings: Configured) -> schemas.SweepView:
    """Queue failed and cancelled points again, except those stopped early, and replace deleted jobs."""
    return sweep_view(session, service.retry(session, settings, principal, sweep_id))
