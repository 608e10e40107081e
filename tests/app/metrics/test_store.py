"""The metrics store against plain arrays: whatever is appended, replaced or truncated, it holds what a list would."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlmodel import Session, select

from app.db import reading, transaction
from app.metrics import store
from app.models import Chunk, Job, Series


@pytest.fixture
def engine(database: Engine) -> Engine:
    with transaction(database) as session:
        session.add(Job(id="job_1", kind="expert", name="", state="running", owner="x", spec={}, defaulted=[]))
    return database


def block(steps: range | list[int], values: list[float] | None = None) -> store.Block:
    numbers = np.array(list(steps), dtype=np.int64)
    array = np.sin(numbers / 50.0) if values is None else np.array(values, dtype=float)
    return store.Block(numbers, array, numbers.astype(float))


def all_points(session: Session, key: str = "a") -> tuple[list[int], list[float]]:
    rows = [row for row in store.csv_rows(session, "job_1") if row[0] == key]
    return [s for row in rows for s in row[1].tolist()], [v for row in rows for v in row[2].tolist()]


def test_random_appends_replacements_and_truncations_match_a_list(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CHUNK", 32)
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    expected: dict[int, float] = {}
    for _ in range(40):
        last = max(expected, default=-1)
        if rng.random() < 0.2:
            step = rng.randint(-1, last + 1)
            expected = {s: v for s, v in expected.items() if s <= step}
            with transaction(engine) as session:
                store.truncate(session, "job_1", step)
        else:
            first = max(0, last + rng.randint(-40, 5))
            steps = list(range(first, first + rng.choice([1, 3, 16, 80]), rng.choice([1, 2])))
            values = [rng.uniform(-1, 1) if rng.random() > 0.05 else float("nan") for _ in steps]
            expected = {s: v for s, v in expected.items() if s < steps[0]} | dict(zip(steps, values, strict=True))
            with transaction(engine) as session:
                store.append(session, "job_1", {"a": block(steps, values)})
        with reading(engine) as session:
            stored_steps, stored_values = all_points(session)
            assert stored_steps == list(expected)
            np.testing.assert_array_equal(stored_values, list(expected.values()))
            row = session.exec(select(Series)).first()
            if row is None:
                continue
            finite = {s: v for s, v in expected.items() if np.isfinite(v)}
            assert row.count == len(expected)
            assert (row.min, row.max) == (min(finite.values(), default=None), max(finite.values(), default=None))
            if expected:
                assert row.last_step == max(expected)
            if finite:
                assert finite[row.max_step or 0] == row.max
            counts = [chunk.count for chunk in session.exec(select(Chunk))]
            assert all(0 < count <= store.CHUNK for count in counts)


@pytest.mark.parametrize(("count", "points"), [(0, 10), (1, 10), (400, 500), (5_000, 100), (40_000, 50), (40_000, 7)])
def test_a_chart_keeps_the_extremes_of_every_bucket(engine: Engine, count: int, points: int) -> None:
    rng = np.random.default_rng(count)
    values = rng.normal(size=count)
    if count > 3:
        values[[1, count // 2]] = [50.0, -50.0]
    with transaction(engine) as session:
        store.append(session, "job_1", {"a": block(range(count), values.tolist())})
    with reading(engine) as session:
        row = session.exec(select(Series)).one()
        chart = store.chart(session, row, points, None, None)
        part = store.chart(session, row, points, count // 4, count // 2)
    low, high = (np.array(getattr(chart, name), dtype=float) for name in ("min", "max"))
    assert len(chart.steps) == len(chart.values) == min(points, count) or len(chart.steps) <= points
    assert chart.steps == sorted(set(chart.steps))
    if count:
        assert chart.steps[-1] == count - 1
        assert (low.min(), high.max()) == (values.min(), values.max())
        assert chart.values[-1] == values[-1]
        starts = [0, *[step + 1 for step in chart.steps[:-1]]]
        for index, (start, end) in enumerate(zip(starts, chart.steps, strict=True)):
            bucket = values[start : end + 1]
            assert (low[index], high[index]) == (bucket.min(), bucket.max())
    if count > 3:
        inside = values[count // 4 : count // 2 + 1]
        part_low, part_high = (np.array(getattr(part, name), dtype=float) for name in ("min", "max"))
        assert (part_low.min(), part_high.max()) == (inside.min(), inside.max())
        assert part.steps[-1] == count // 2


def test_values_that_are_not_finite_leave_gaps(engine: Engine) -> None:
    values = [1.0, float("nan"), float("inf"), 2.0]
    with transaction(engine) as session:
        store.append(session, "job_1", {"train/loss_total": block(range(4), values)})
    with reading(engine) as session:
        row = session.exec(select(Series)).one()
        chart = store.chart(session, row, 10, None, None)
        assert chart.values == [1.0, None, None, 2.0]
        latest = store.latest(session, "job_1")["train/loss_total"]
    assert (latest.min, latest.max, latest.best_step, latest.step) == (1.0, 2.0, 0, 3)
