"""The metrics store against plain arrays: whatever is appended, replaced or truncated, it holds what a list would."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sqlalchemy import Engine, event
from sqlmodel import Session, col, select

from app.db import reading, transaction
from app.models import Chunk, Series
from app.results.metrics import store
from tests.app.results.metrics.points import block

KEYS = ("a", "b", "c")


def all_points(session: Session, key: str) -> tuple[list[int], list[float]]:
    batches = [batch for batch in store.chunk_batches(session, "job_1") if batch[0] == key]
    blocks = [store.read_chunks(session, series_id, numbers) for _, series_id, numbers in batches]
    return [s for block in blocks for s in block.steps.tolist()], [v for block in blocks for v in block.values.tolist()]


def test_random_appends_replacements_and_truncations_match_a_list(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CHUNK", 32)
    monkeypatch.setattr(store, "SERIES_AT_A_TIME", 2)
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    expected: dict[str, dict[int, float]] = {key: {} for key in KEYS}
    for _ in range(40):
        if rng.random() < 0.2:
            step = rng.randint(-1, max((s for points in expected.values() for s in points), default=-1) + 1)
            expected = {key: {s: v for s, v in points.items() if s <= step} for key, points in expected.items()}
            with transaction(engine) as session:
                store.truncate(session, "job_1", step)
        else:
            added = {}
            for key in rng.sample(KEYS, rng.randint(1, len(KEYS))):
                first = max(0, max(expected[key], default=-1) + rng.randint(-40, 5))
                steps = list(range(first, first + rng.choice([0, 1, 3, 16, 80]), rng.choice([1, 2])))
                values = [rng.uniform(-1, 1) if rng.random() > 0.05 else float("nan") for _ in steps]
                added[key] = block(steps, values)
                if steps:
                    kept = {s: v for s, v in expected[key].items() if s < steps[0]}
                    expected[key] = kept | dict(zip(steps, values, strict=True))
            with transaction(engine) as session:
                store.append(session, "job_1", added)
        with reading(engine) as session:
            for key in KEYS:
                check_series(session, key, expected[key])


def check_series(session: Session, key: str, expected: dict[int, float]) -> None:
    """The points, summary and chunks of a series are those of a list; the time of a point equals its step here."""
    stored_steps, stored_values = all_points(session, key)
    assert stored_steps == list(expected)
    np.testing.assert_array_equal(stored_values, list(expected.values()))
    row = session.exec(select(Series).where(Series.key == key)).first()
    if row is None:
        return
    finite = {s: v for s, v in expected.items() if np.isfinite(v)}
    assert row.count == len(expected)
    assert (row.min, row.max) == (min(finite.values(), default=None), max(finite.values(), default=None))
    if expected:
        assert row.last_step == max(expected)
    if finite:
        assert finite[row.max_step or 0] == row.max
    chunks = list(session.exec(select(Chunk).where(Chunk.series_id == row.id).order_by(col(Chunk.number))))
    assert all(0 < chunk.count <= store.CHUNK for chunk in chunks)
    for chunk in chunks:
        inside = [v for s, v in finite.items() if chunk.first_step <= s <= chunk.last_step]
        assert chunk.mean == (pytest.approx(np.mean(inside)) if inside else None)
        assert chunk.last_time == chunk.last_step


def test_many_metrics_take_as_many_statements_as_one(engine: Engine) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    def append(keys: list[str], first: int) -> int:
        statements.clear()
        with transaction(engine) as session:
            store.append(session, "job_1", {key: block(range(first, first + 5)) for key in keys})
        return len(statements)

    many = [f"key_{number}" for number in range(50)]
    append(many, 0)
    assert append(many, 5) == append(["key_0"], 10)


def test_values_that_are_not_finite_are_not_in_the_summary(engine: Engine) -> None:
    values = [1.0, float("nan"), float("inf"), 2.0]
    with transaction(engine) as session:
        store.append(session, "job_1", {"train/loss_total": block(range(4), values)})
    with reading(engine) as session:
        latest = store.latest(session, "job_1")["train/loss_total"]
    assert (latest.min, latest.max, latest.best_step, latest.step) == (1.0, 2.0, 0, 3)
