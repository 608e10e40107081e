"""Sweeps over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from app.auth.principals import Member, Principal, Viewer
from app.db import transaction
from app.http.idempotency import IdempotencyKey
from app.http.paging import Cursor, Limit
from app.http.session import Configured, Reading, Writing
from app.jobs.checking import read_body
from app.settings import Settings
from app.sweeps import grid, queries, ranking, schemas, service
from app.sweeps.examples import SWEEP_BODY
from app.sweeps.placement import plan
from core.spec.fields import ONE_LINE

router = APIRouter(prefix="/sweeps", tags=["sweeps"])
SweepId = Annotated[str, Path(max_length=64, description="`swp_` and 26 characters")]
Metric = Annotated[str | None, Query(min_length=1, max_length=200, pattern=ONE_LINE)]


@router.post(
    "",
    status_code=201,
    response_model=schemas.SweepView,
    openapi_extra=SWEEP_BODY,
    responses={200: {"model": schemas.SweepView | schemas.SweepDryRun}},
)
async def post_sweep(
    request: Request,
    asks: Member,
    settings: Configured,
    dry_run: bool = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a job for every point of a grid. Points that are the same as a job there is take that job."""
    body = await request.body()
    return await run_in_threadpool(_post, request, asks, body, settings, dry_run, idempotency_key)


def _post(
    request: Request, asks: Principal, body: bytes, settings: Settings, dry_run: bool, key: str | None
) -> JSONResponse:
    asked = service.read(read_body(body))
    # Before the transaction, for which every other writer has to wait.
    planned = plan(settings, asked.name, asked.base, asked.grid, list(grid.points(asked.grid)))
    if dry_run:
        with request.app.state.reading() as session:
            return JSONResponse(service.preview(session, asked, planned))
    with transaction(request.app.state.engine) as session:
        sweep, new = service.create(session, settings, asks, asked, planned, key=key, body=body)
        shown = queries.view(session, sweep)
    return JSONResponse(shown, 201 if new else 200, {"Location": f"/sweeps/{shown['id']}"})


@router.get("", response_model=schemas.SweepPage)
def get_sweeps(_asks: Viewer, session: Reading, limit: Limit = 50, cursor: Cursor = None) -> Any:
    """List sweeps, newest first."""
    return queries.list_sweeps(session, limit=limit, cursor=cursor)


@router.get("/{sweep_id}", response_model=schemas.SweepView)
def get_sweep(
    sweep_id: SweepId, _asks: Viewer, session: Reading, metric: Metric = None, mode: ranking.Mode | None = None
) -> Any:
    """A sweep: how many points are in which state, and which are best by a metric, over their seeds."""
    return queries.view(session, queries.get_sweep(session, sweep_id), metric, mode)


@router.get(
    "/{sweep_id}/leaderboard.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def get_leaderboard(
    sweep_id: SweepId, _asks: Viewer, session: Reading, metric: Metric = None, mode: ranking.Mode | None = None
) -> Response:
    """The leaderboard of a sweep, a column a field of its grid."""
    shown = queries.view(session, queries.get_sweep(session, sweep_id), metric, mode)
    headers = {"Content-Disposition": f'attachment; filename="{shown["id"]}.csv"'}
    return Response(ranking.as_csv(shown["leaderboard"], shown["grid"]), media_type="text/csv", headers=headers)


@router.get("/{sweep_id}/points", response_model=schemas.PointPage)
def get_points(
    sweep_id: SweepId,
    _asks: Viewer,
    session: Reading,
    metric: Metric = None,
    mode: ranking.Mode | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Any:
    """The points of a sweep with their jobs, in the order of the grid."""
    sweep = queries.get_sweep(session, sweep_id)
    return queries.list_points(session, sweep, metric=metric, mode=mode, limit=limit, cursor=cursor)


@router.post("/{sweep_id}/cancel", status_code=202, response_model=schemas.SweepView)
def cancel(sweep_id: SweepId, asks: Member, session: Writing, settings: Configured) -> Any:
    """End every job that the sweep made; what they have trained so far stays."""
    return queries.view(session, service.cancel(session, settings, asks, sweep_id))


@router.post("/{sweep_id}/retry", status_code=202, response_model=schemas.SweepView)
def retry(sweep_id: SweepId, asks: Member, session: Writing, settings: Configured) -> Any:
    """Queue again what failed, is missing or was cancelled, but not what was stopped early."""
    return queries.view(session, service.retry(session, settings, asks, sweep_id))
