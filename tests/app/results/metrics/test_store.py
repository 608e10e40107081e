"""The metrics store against plain arrays: whatever is appended, replaced or truncated, it holds what a list would."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from app.db import reading, transaction
from app.models import Chunk, Series
from app.results.metrics import store
from tests.app.results.metrics.points import block


def all_points(session: Session, key: str = "a") -> tuple[list[int], list[float]]:
    batches = [batch for batch in store.chunk_batches(session, "job_1") if batch[0] == key]
    blocks = [store.read_chunks(session, series_id, numbers) for _, series_id, numbers in batches]
    return [s for block in blocks for s in block.steps.tolist()], [v for block in blocks for v in block.values.tolist()]


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
            chunks = list(session.exec(select(Chunk).order_by(col(Chunk.number))))
            counts = [chunk.count for chunk in chunks]
            assert all(0 < count <= store.CHUNK for count in counts)
            for chunk in chunks:
                inside = [v for s, v in finite.items() if chunk.first_step <= s <= chunk.last_step]
                assert chunk.mean == (pytest.approx(np.mean(inside)) if inside else None)
                # The time of a point equals its step here.
                assert chunk.last_time == chunk.last_step


def test_values_that_are_not_finite_are_not_in_the_summary(engine: Engine) -> None:
    values = [1.0, float("nan"), float("inf"), 2.0]
    with transaction(engine) as session:
        store.append(session, "job_1", {"train/loss_total": block(range(4), values)})
    with reading(engine) as session:
        latest = store.latest(session, "job_1")["train/loss_total"]
    assert (latest.min, latest.max, latest.best_step, latest.step) == (1.0, 2.0, 0, 3)
