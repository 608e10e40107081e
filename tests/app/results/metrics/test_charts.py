"""Charts against plain arrays: every bucket keeps its extremes, whatever it is read from."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlmodel import select

from app.db import reading, transaction
from app.models import Series
from app.results.metrics import store
from app.results.metrics.charts import chart
from tests.app.results.metrics.points import block


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
        whole = chart(session, row, points, None, None)
        part = chart(session, row, points, count // 4, count // 2)
    low, high = (np.array(getattr(whole, name), dtype=float) for name in ("min", "max"))
    assert len(whole.steps) == len(whole.values) == min(points, count) or len(whole.steps) <= points
    assert whole.steps == sorted(set(whole.steps))
    if count:
        assert whole.steps[-1] == count - 1
        assert (low.min(), high.max()) == (values.min(), values.max())
        assert whole.values[-1] == values[-1]
        starts = [0, *[step + 1 for step in whole.steps[:-1]]]
        for index, (start, end) in enumerate(zip(starts, whole.steps, strict=True)):
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
        store.append(session, "job_1", {"a": block(range(4), values)})
    with reading(engine) as session:
        row = session.exec(select(Series)).one()
        assert chart(session, row, 10, None, None).values == [1.0, None, None, 2.0]
