"""The metrics store and the job list at size."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, insert
from sqlmodel import select
from ulid import ULID

from app.db import make_engine, reading, transaction, upgrade
from app.jobs.list_queries import JobFilter, list_jobs
from app.metrics import store
from app.metrics.batch import series_of_jobs
from app.metrics.charts import chart
from app.models import Attempt, Job, Series
from tests.benchmarks.service import Row, _row
from worker.ingest import ingest


def rows() -> list[Row]:
    """Ingest, charts and lists on SQLite."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        engine, few = _database(folder / "mcn.db"), _database(folder / "few.db")
        table = [_ingest(engine, folder), *_charts(engine), _lists(few, engine)]
        engine.dispose()
        few.dispose()
        return table


def _database(file: Path) -> Engine:
    upgrade(f"sqlite:///{file}")
    return make_engine(f"sqlite:///{file}")


def _add_job(engine: Engine, job_id: str) -> None:
    with transaction(engine) as session:
        session.add(
            Job(id=job_id, kind="expert", name="", state="running", owner="x", spec={}, defaulted=[], attempt=1)
        )


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
    return _row("ingest of metric points", f"{speed:,.0f} a second", ">= 200,000", speed >= 200_000)


def _fill(engine: Engine, job_id: str, keys: int, count: int) -> None:
    steps = np.arange(count)
    block = store.Block(steps, np.sin(steps / 1e4), steps.astype(float))
    with transaction(engine) as session:
        store.append(session, job_id, {f"key_{k}": block for k in range(keys)})


def _charts(engine: Engine) -> list[Row]:
    _add_job(engine, "job_long")
    _fill(engine, "job_long", 1, 10_000_000)
    _add_job(engine, "job_wide")
    _fill(engine, "job_wide", 20, 1_000_000)

    def draw(job_id: str) -> None:
        with reading(engine) as session:
            for series in session.exec(select(Series).where(Series.job_id == job_id)):
                assert len(chart(session, series, 500, None, None).steps) == 500

    def draw_together() -> None:
        with reading(engine) as session:
            found = series_of_jobs(session, ["job_half"], [f"key_{k}" for k in range(20)], 500)
            assert len(found.model_dump_json()) > 20 * 500

    _add_job(engine, "job_half")
    _fill(engine, "job_half", 20, 500_000)
    together_s = _median(draw_together)
    long_s, wide_s = _median(lambda: draw("job_long")), _median(lambda: draw("job_wide"))
    return [
        _row("a chart of 500 points out of 10 million", f"{1000 * long_s:.0f} ms", "< 50 ms", long_s < 0.05),
        _row("20 charts of 1 million each", f"{1000 * wide_s:.0f} ms", "< 300 ms", wide_s < 0.3),
        _row("20 series of 500,000 in one answer", f"{1000 * together_s:.0f} ms", "< 100 ms", together_s < 0.1),
    ]


def _median(action: Callable[[], object], rounds: int = 9) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _lists(few: Engine, many: Engine) -> Row:
    """The first page of the job list, with 100 jobs and with 100,000, in turns."""

    def page(engine: Engine) -> float:
        began = time.perf_counter()
        with reading(engine) as session:
            assert len(list_jobs(session, JobFilter(), limit=50).items) == 50
        return time.perf_counter() - began

    def grow(engine: Engine, count: int) -> None:
        fixed = {"kind": "expert", "name": "", "state": "queued", "owner": "x", "spec": {}, "defaulted": []}
        more = {"attempt": 0, "failures": 0, "priority": 0, "created_at": datetime.now(UTC)}
        with transaction(engine) as session:
            session.execute(insert(Job), [{"id": f"job_{ULID()}", **fixed, **more} for _ in range(count)])

    grow(few, 100)
    grow(many, 100_000)
    times = [(page(few), page(many)) for _ in range(200)]
    few_s, many_s = (statistics.median(side) for side in zip(*times, strict=True))
    ratio = many_s / few_s
    value = f"{1000 * many_s:.1f} / {1000 * few_s:.1f} ms = {ratio:.2f}"
    return _row("job list with 100,000 jobs / with 100", value, "<= 1.5", ratio <= 1.5)
