"""The routes of metrics: summaries, series for charts, and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Engine

from app.auth.principals import Viewer
from app.db import reading
from app.http.csv_cells import safe_cell
from app.http.errors import NotFound
from app.http.session import Reading
from app.jobs import queries
from app.jobs.routes import JobId, JobIdText
from app.results.metrics import store
from app.results.metrics.batch import series_of_jobs
from app.results.metrics.charts import chart
from app.results.metrics.queries import find_series
from app.results.metrics.schemas import JobSeriesList, Metrics, SeriesList

router = APIRouter(prefix="/jobs/{job_id}", tags=["metrics"])
series_router = APIRouter(tags=["metrics"])
Key = Annotated[str, Query(max_length=200)]
Step = Annotated[int | None, Query(ge=0, lt=2**62)]


@series_router.get("/series", response_model=JobSeriesList)
def get_series_of_jobs(
    _principal: Viewer,
    session: Reading,
    job: Annotated[list[JobIdText], Query(min_length=1, max_length=20, description="job ids")],
    key: Annotated[
        list[Key], Query(min_length=1, max_length=100, description="metrics", examples=[["val/accuracy_fused"]])
    ],
    points: Annotated[int, Query(ge=1, le=2_000, description="maximum number of buckets of a series")] = 500,
    from_step: Step = None,
    to_step: Step = None,
) -> Response:
    """Get metrics of up to 20 jobs for charts, in at most `points` buckets each with mean, last value and extremes."""
    series = series_of_jobs(session, job, key, points, from_step, to_step)
    # FastAPI would serialize the numbers in Python.
    return Response(series.model_dump_json(), media_type="application/json")


@router.get("/metrics")
def get_metrics(job_id: JobId, _principal: Viewer, session: Reading) -> Metrics:
    """List the metrics of a job with the latest and the best value of each."""
    queries.get_job(session, job_id)
    latest = store.latest(session, job_id)
    return Metrics(keys=list(latest), latest=latest)


@router.get("/metrics/series")
def get_series(
    job_id: JobId,
    _principal: Viewer,
    session: Reading,
    key: Annotated[list[Key], Query(min_length=1, max_length=100)],
    points: Annotated[int, Query(ge=1, le=10_000)] = 500,
    from_step: Step = None,
    to_step: Step = None,
) -> SeriesList:
    """Get metrics for a chart, in at most `points` buckets each, which keep their extremes."""
    queries.get_job(session, job_id)
    series = find_series(session, job_id, key)
    missing = [name for name in key if name not in series]
    if missing:
        raise NotFound(f"{job_id} has no metric {missing[0]!r}: `GET /jobs/{job_id}/metrics` lists its metrics")
    charts = [chart(session, series[name], points, from_step, to_step) for name in dict.fromkeys(key)]
    return SeriesList(series=charts)


@router.get(
    "/metrics.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def get_csv(request: Request, job_id: JobId, _principal: Viewer, session: Reading) -> StreamingResponse:
    """Download every point of every metric as CSV: key, step, value, time (Unix seconds)."""
    queries.get_job(session, job_id)
    headers = {"Content-Disposition": f'attachment; filename="{job_id}.csv"'}
    return StreamingResponse(_csv_blocks(request.app.state.engine, job_id), media_type="text/csv", headers=headers)


def _csv_blocks(engine: Engine, job_id: str) -> Iterator[str]:
    yield "key,step,value,time\n"
    with reading(engine) as session:
        batches = store.chunk_batches(session, job_id)
    for key, series_id, numbers in batches:
        # No connection is held while the client reads: slow ones would soon hold all.
        with reading(engine) as session:
            block = store.read_chunks(session, series_id, numbers)
        quoted = io.StringIO()
        csv.writer(quoted, lineterminator="").writerow([safe_cell(key)])
        cell = quoted.getvalue()
        rows = zip(block.steps.tolist(), block.values.tolist(), block.times.tolist(), strict=True)
        yield "".join(f"{cell},{step},{value!r},{time:.3f}\n" for step, value, time in rows)
