"""Metrics of several jobs at once against plain arrays, from points and from the summaries of chunks."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, event

from app.db import reading, transaction
from app.http.errors import NotFound
from app.models import Job
from app.results.metrics import batch, charts, store
from app.results.metrics.batch import series_of_jobs
from app.results.metrics.schemas import JobSeries
from tests.app.api import Service
from tests.app.results.metrics.points import block


def one(engine: Engine, points: int, first: int | None = None, last: int | None = None) -> JobSeries:
    with reading(engine) as session:
        [series] = series_of_jobs(session, ["job_1"], ["a"], points, first, last).series
    return series


@pytest.mark.parametrize(
    ("count", "requests"),
    [(400, [(500, None, None)]),
     (3_000, [(10, None, 1_023)]),
     (40_000, [(20, None, None), (100, None, None), (50, 1_000, 30_000), (7, 1_024, 20_479), (500, 5_000, 5_003),
               (10, 39_000, None)])],
)  # fmt: skip
def test_every_bucket_has_mean_and_extremes_of_its_points(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, count: int, requests: list[tuple[int, int | None, int | None]]
) -> None:
    values = np.random.default_rng(count).normal(size=count)
    with transaction(engine) as session:
        store.append(session, "job_1", {"a": block(range(count), values.tolist())})
    for read_limit, (points, first, last) in product([512, 0], requests):
        # Without points read, buckets come from the summaries of chunks, except at the ends of the range.
        monkeypatch.setattr(charts, "MAX_CHUNKS_READ", read_limit)
        series = one(engine, points, first, last)
        assert 0 < len(series.steps) <= points
        assert series.steps[-1] == min(count - 1, count - 1 if last is None else last)
        assert series.times == [float(step) for step in series.steps]
        start = first or 0
        for index, step in enumerate(series.steps):
            part = values[start : step + 1]
            assert series.mean[index] == pytest.approx(part.mean(), rel=1e-5)
            assert series.last[index] == pytest.approx(part[-1], rel=1e-5)
            if series.counts is not None:
                assert series.min is not None
                assert series.max is not None
                assert series.counts[index] == len(part)
                assert (series.min[index], series.max[index]) == pytest.approx((part.min(), part.max()), rel=1e-5)
            else:
                assert len(part) == 1
            start = step + 1


def test_values_that_are_not_finite_do_not_count(engine: Engine) -> None:
    with transaction(engine) as session:
        store.append(
            session, "job_1", {"a": block(range(6), [1.0, float("nan"), 3.0, 5.0, float("inf"), float("nan")])}
        )
    assert one(engine, 10).mean == [1.0, None, 3.0, 5.0, None, None]
    series = one(engine, 3)
    assert (series.mean, series.last) == ([1.0, 4.0, None], [None, 5.0, None])
    assert (series.min, series.max, series.counts) == ([1.0, 3.0, None], [1.0, 5.0, None], [2, 2, 2])


def test_series_of_raw_points_have_no_extremes_and_no_counts(engine: Engine) -> None:
    with transaction(engine) as session:
        store.append(session, "job_1", {"a": block([3, 5], [1.0, 2.0])})
    series = one(engine, 2)
    assert (series.steps, series.mean, series.last) == ([3, 5], [1.0, 2.0], [1.0, 2.0])
    assert (series.counts, series.min, series.max) == (None, None, None)
    assert one(engine, 2, 4, 4).steps == []


def test_two_queries_read_any_number_of_series(engine: Engine) -> None:
    with transaction(engine) as session:
        for number in range(2, 12):
            row: dict[str, Any] = {
                "kind": "fusion",
                "name": "",
                "state": "running",
                "owner": "x",
                "spec": {},
                "defaulted": [],
            }
            session.add(Job(id=f"job_{number}", **row))
            session.flush()
            store.append(session, f"job_{number}", {"a": block(range(3_000)), "b": block(range(5))})
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with reading(engine) as session:
        found = series_of_jobs(session, ["job_11", "job_2", "job_1"], ["b", "a", "c"], 10, 100, 2_000).series
    assert [(series.job, series.key) for series in found] == [
        ("job_11", "b"), ("job_11", "a"), ("job_2", "b"), ("job_2", "a"),
    ]  # fmt: skip
    # Jobs, series, chunks and points.
    assert len(statements) == 4
    with reading(engine) as session, pytest.raises(NotFound, match="job_99"):
        series_of_jobs(session, ["job_1", "job_99"], ["a"], 10)


def test_the_route_answers_what_jobs_have(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = service.submit(), service.submit()
    with transaction(service.app.state.engine) as session:
        store.append(session, first, {"val/accuracy_fused": block(range(4), [0.1, 0.2, 0.3, 0.123456789])})
    path = f"/series?job={first}&job={second}&key=val/accuracy_fused&key=none"
    assert service.get(f"{path}&from_step=2").json() == {
        "series": [
            {
                "job": first,
                "key": "val/accuracy_fused",
                "steps": [2, 3],
                "times": [2.0, 3.0],
                "counts": None,
                "mean": [0.3, 0.123457],
                "last": [0.3, 0.123457],
                "min": None,
                "max": None,
            }
        ]
    }
    assert service.get(f"{path}&points=2").json()["series"][0]["counts"] == [2, 2]
    monkeypatch.setattr(batch, "MAX_BUCKETS", 499)
    answer = service.get(path)
    assert (answer.status_code, "1 series of 500 points" in answer.json()["detail"]) == (422, True)
