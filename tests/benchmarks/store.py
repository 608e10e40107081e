"""The metrics store and the job list at size."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import select
from ulid import ULID

from app.db import reading, transaction
from app.jobs.list_queries import JobFilter, list_jobs_as_json
from app.jobs.schemas import JobView
from app.models import Attempt, Series
from app.results.metrics.batch import series_of_jobs
from app.results.metrics.charts import chart
from tests.benchmarks.measures import Row, median_s, row
from tests.benchmarks.stored import fill_series, insert_jobs, new_database
from tests.parts import running_postgres
from worker.ingest import ingest


def rows() -> list[Row]:
    """Ingest, charts and lists on SQLite; ingest and charts on PostgreSQL too."""
    with tempfile.TemporaryDirectory() as temporary, running_postgres(durable=True) as server:
        folder = Path(temporary)
        engine, few = (new_database(f"sqlite:///{folder / name}.db") for name in ("mcn", "few"))
        postgres = new_database(server.replace("postgresql:", "postgresql+psycopg:"))
        table = [*_ingest_and_charts(engine, folder, "SQLite"), _lists(few, engine)]
        table += _ingest_and_charts(postgres, folder, "PostgreSQL")
        for used in (engine, few, postgres):
            used.dispose()
        return table


def _ingest_and_charts(engine: Engine, folder: Path, database: str) -> list[Row]:
    return [[f"{what}, {database}", *cells] for what, *cells in (_ingest(engine, folder), *_charts(engine))]


def _add_job(engine: Engine, job_id: str) -> None:
    insert_jobs(engine, [{"id": job_id, "state": "running", "attempt": 1}])


def _ingest(engine: Engine, folder: Path) -> Row:
    """Lines of 20 values as training writes them, from file to committed rows."""
    _add_job(engine, "job_ingest")
    with transaction(engine) as session:
        session.add(Attempt(job_id="job_ingest", number=1, executor="local", host="x", devices=[]))
    lines, keys = 20_000, [f"train/key_{k}" for k in range(20)]
    at = datetime.now(UTC).isoformat()
    with (folder / "events.jsonl").open("w") as file:
        for step in range(lines):
            data = {"step": step, "values": dict.fromkeys(keys, step / 7)}
            file.write(json.dumps({"seq": step + 1, "time": at, "kind": "metrics", "data": data}) + "\n")
    began = time.perf_counter()
    while True:
        with reading(engine) as session:
            attempt = session.get(Attempt, ("job_ingest", 1))
            assert attempt is not None
            session.expunge(attempt)
        if not ingest(engine, attempt, folder / "events.jsonl"):
            break
    speed = lines * len(keys) / (time.perf_counter() - began)
    return row("ingest of metric points", f"{speed:,.0f} a second", ">= 200,000", speed >= 200_000)


def _charts(engine: Engine) -> list[Row]:
    keys = [f"key_{k}" for k in range(20)]
    _add_job(engine, "job_long")
    fill_series(engine, "job_long", ["key_0"], 10_000_000)
    _add_job(engine, "job_wide")
    fill_series(engine, "job_wide", keys, 1_000_000)

    def draw(job_id: str) -> None:
        with reading(engine) as session:
            for series in session.exec(select(Series).where(Series.job_id == job_id)):
                assert len(chart(session, series, 500, None, None).steps) == 500

    def draw_together() -> None:
        with reading(engine) as session:
            found = series_of_jobs(session, ["job_half"], keys, 500)
            assert len(found.model_dump_json()) > 20 * 500

    _add_job(engine, "job_half")
    fill_series(engine, "job_half", keys, 500_000)
    together_s = median_s(draw_together)
    long_s, wide_s = median_s(lambda: draw("job_long")), median_s(lambda: draw("job_wide"))
    return [
        row("a chart of 500 points out of 10 million", f"{1000 * long_s:.0f} ms", "< 50 ms", long_s < 0.05),
        row("20 charts of 1 million each", f"{1000 * wide_s:.0f} ms", "< 300 ms", wide_s < 0.3),
        row("20 series of 500,000 in one answer", f"{1000 * together_s:.0f} ms", "< 100 ms", together_s < 0.1),
    ]


def _lists(few: Engine, many: Engine) -> Row:
    """The first page of the job list, with 100 jobs and with 100,000, in turns."""

    def page(engine: Engine) -> float:
        began = time.perf_counter()
        with reading(engine) as session:
            page = list_jobs_as_json(session, JobFilter(), list(JobView.model_fields), limit=50)
            assert page.count('"spec":') == 50
        return time.perf_counter() - began

    for engine, count in ((few, 100), (many, 100_000)):
        insert_jobs(engine, [{"id": f"job_{ULID()}"} for _ in range(count)])
    times = [(page(few), page(many)) for _ in range(200)]
    few_s, many_s = (statistics.median(side) for side in zip(*times, strict=True))
    ratio = many_s / few_s
    value = f"{1000 * many_s:.1f} / {1000 * few_s:.1f} ms = {ratio:.2f}"
    return row("job list with 100,000 jobs / with 100", value, "<= 1.5", ratio <= 1.5)
