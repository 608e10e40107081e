"""The metrics store against plain arrays: whatever is appended, redone or cut, it says what a list would."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlmodel import Session, select

from app.db import make_engine, reading, transaction, upgrade
from app.metrics import store
from app.models import Chunk, Job, Series


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: object) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/mcn.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    upgrade(url)
    made = make_engine(url)
    with transaction(made) as session:
        session.add(Job(id="job_1", kind="expert", name="", state="running", owner="x", spec={}, defaulted=[]))
    yield made
    made.dispose()


def block(steps: range | list[int], values: list[float] | None = None) -> store.Block:
    numbers = np.array(list(steps), dtype=np.int64)
    given = np.sin(numbers / 50.0) if values is None else np.array(values, dtype=float)
    return store.Block(numbers, given, numbers.astype(float))


def all_points(session: Session, key: str = "a") -> tuple[list[int], list[float]]:
    rows = [row for row in store.csv_rows(session, "job_1") if row[0] == key]
    return [s for row in rows for s in row[1].tolist()], [v for row in rows for v in row[2].tolist()]


def test_random_appends_redone_steps_and_cuts_are_what_a_list_would_say(engine: Engine) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    plain: dict[int, float] = {}
    for _ in range(40):
        last = max(plain, default=-1)
        if chance.random() < 0.2:
            step = chance.randint(-1, last + 1)
            plain = {s: v for s, v in plain.items() if s <= step}
            with transaction(engine) as session:
                store.truncate(session, "job_1", step)
        else:
            first = max(0, last + chance.randint(-300, 5))
            steps = list(range(first, first + chance.choice([1, 3, 500, 2500]), chance.choice([1, 2])))
            values = [chance.uniform(-1, 1) if chance.random() > 0.05 else float("nan") for _ in steps]
            plain = {s: v for s, v in plain.items() if s < steps[0]} | dict(zip(steps, values, strict=True))
            with transaction(engine) as session:
                store.append(session, "job_1", {"a": block(steps, values)})
        with reading(engine) as session:
            found_steps, found_values = all_points(session)
            assert found_steps == list(plain)
            np.testing.assert_array_equal(found_values, list(plain.values()))
            row = session.exec(select(Series)).first()
            if row is None:
                continue
            finite = {s: v for s, v in plain.items() if np.isfinite(v)}
            assert row.count == len(plain)
            assert (row.min, row.max) == (min(finite.values(), default=None), max(finite.values(), default=None))
            if plain:
                assert row.last_step == max(plain)
            if finite:
                assert finite[row.max_step or 0] == row.max
            counts = [chunk.count for chunk in session.exec(select(Chunk))]
            assert all(0 < count <= store.CHUNK for count in counts)


@pytest.mark.parametrize(("count", "points"), [(0, 10), (1, 10), (400, 500), (5_000, 100), (200_000, 50), (200_000, 7)])
def test_a_chart_keeps_every_buckets_extremes(engine: Engine, count: int, points: int) -> None:
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
    assert len(chart["steps"]) == len(chart["values"]) == min(points, count) or len(chart["steps"]) <= points
    assert chart["steps"] == sorted(set(chart["steps"]))
    if count:
        assert chart["steps"][-1] == count - 1
        assert (min(chart["min"]), max(chart["max"])) == (values.min(), values.max())
        assert chart["values"][-1] == values[-1]
        starts = [0, *[step + 1 for step in chart["steps"][:-1]]]
        for low, high, start, end in zip(chart["min"], chart["max"], starts, chart["steps"], strict=True):
            assert (low, high) == (values[start : end + 1].min(), values[start : end + 1].max())
    if count > 3:
        inside = values[count // 4 : count // 2 + 1]
        assert (min(part["min"]), max(part["max"])) == (inside.min(), inside.max())
        assert part["steps"][-1] == count // 2


def test_numbers_that_are_not_finite_leave_gaps(engine: Engine) -> None:
    values = [1.0, float("nan"), float("inf"), 2.0]
    with transaction(engine) as session:
        store.append(session, "job_1", {"train/loss_total": block(range(4), values)})
    with reading(engine) as session:
        row = session.exec(select(Series)).one()
        chart = store.chart(session, row, 10, None, None)
        assert chart["values"] == [1.0, None, None, 2.0]
        latest = store.latest(session, "job_1")["train/loss_total"]
    assert (latest["min"], latest["max"], latest["best_step"], latest["step"]) == (1.0, 2.0, 0, 3)
