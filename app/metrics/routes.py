"""Metrics over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlmodel import col, select

from app.auth.principals import Viewer
from app.db import reading
from app.http.errors import NotFound
from app.http.session import Reading
from app.jobs import queries
from app.jobs.routes import JobId
from app.metrics import store
from app.models import Series

router = APIRouter(prefix="/jobs/{job_id}", tags=["metrics"])
Step = Annotated[int | None, Query(ge=0, lt=2**62)]


class Latest(BaseModel):
    """The summary of one metric."""

    step: int
    value: float | None
    min: float | None
    max: float | None
    best_step: int | None
    count: int


class Metrics(BaseModel):
    """The metrics of a job."""

    keys: list[str]
    latest: dict[str, Latest]


class OneSeries(BaseModel):
    """A metric over steps: of each bucket its last step and value, its minimum and maximum."""

    key: str
    steps: list[int]
    values: list[float | None]
    min: list[float | None]
    max: list[float | None]


class SeriesList(BaseModel):
    """Metrics over steps, in the order asked for."""

    series: list[OneSeries]


@router.get("/metrics", response_model=Metrics)
def get_metrics(job_id: JobId, _asks: Viewer, session: Reading) -> Any:
    """Which metrics there are, and the latest and best of each."""
    queries.get_job(session, job_id)
    latest = store.latest(session, job_id)
    return {"keys": list(latest), "latest": latest}


@router.get("/metrics/series", response_model=SeriesList)
def get_series(
    job_id: JobId,
    _asks: Viewer,
    session: Reading,
    key: Annotated[list[Annotated[str, Query(max_length=200)]], Query(min_length=1, max_length=100)],
    points: Annotated[int, Query(ge=1, le=10_000)] = 500,
    from_step: Step = None,
    to_step: Step = None,
) -> Any:
    """Metrics for a chart, in at most `points` buckets that keep every bucket's extremes."""
    queries.get_job(session, job_id)
    found = {
        row.key: row for row in session.exec(select(Series).where(Series.job_id == job_id, col(Series.key).in_(key)))
    }
    missing = [name for name in key if name not in found]
    if missing:
        raise NotFound(f"{job_id} has no metric {missing[0]!r}: `GET /jobs/{job_id}/metrics` lists those it has")
    return {"series": [store.chart(session, found[name], points, from_step, to_step) for name in dict.fromkeys(key)]}


@router.get(
    "/metrics.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def get_csv(request: Request, job_id: JobId, _asks: Viewer, session: Reading) -> StreamingResponse:
    """Every point: key, step, value, time."""
    queries.get_job(session, job_id)
    engine = request.app.state.engine

    def lines() -> Iterator[str]:
        yield "key,step,value,time\n"
        with reading(engine) as own:
            for name, steps, values, times in store.csv_rows(own, job_id):
                rows = zip(steps.tolist(), values.tolist(), times.tolist(), strict=True)
                yield "".join(f"{name},{step},{value!r},{time:.3f}\n" for step, value, time in rows)

    headers = {"Content-Disposition": f'attachment; filename="{job_id}.csv"'}
    return StreamingResponse(lines(), media_type="text/csv", headers=headers)
