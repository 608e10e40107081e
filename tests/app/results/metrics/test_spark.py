"""Sparklines: the accuracy that ranks a job, in few points, with two queries for all jobs of a page."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Engine, event

from app.db import reading, transaction
from app.models import Job
from app.results.metrics import spark, store
from app.results.metrics.spark import sparklines
from tests.app.results.metrics.points import block


@pytest.fixture
def kinds(engine: Engine) -> dict[str, str]:
    kinds = {"job_1": "expert", "job_2": "fusion", "job_3": "head", "job_4": "fusion"}
    with transaction(engine) as session:
        for job_id, kind in list(kinds.items())[1:]:
            session.add(Job(id=job_id, kind=kind, name="", state="running", owner="x", spec={}, defaulted=[]))
    return kinds


def test_each_kind_has_its_accuracy_and_no_more_than_the_points(engine: Engine, kinds: dict[str, str]) -> None:
    both = {"val/accuracy_expert_0": block(range(48)), "val/accuracy_fused": block([1, 2], [0.5, float("nan")])}
    with transaction(engine) as session:
        for job_id in ("job_1", "job_2", "job_3"):
            store.append(session, job_id, both)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with reading(engine) as session:
        lines = sparklines(session, kinds)
    assert len(statements) == 2
    assert list(lines) == ["job_1", "job_2", "job_3"]
    assert lines["job_2"] == lines["job_3"] == [0.5, None]
    means = np.sin(np.arange(48) / 50.0).reshape(24, 2).mean(axis=1)
    assert lines["job_1"] == pytest.approx(means.tolist(), rel=1e-5)


def test_a_long_series_is_drawn_from_the_means_of_its_chunks(
    engine: Engine, kinds: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spark, "MAX_POINTS_READ", 1_024)
    with transaction(engine) as session:
        store.append(session, "job_2", {"val/accuracy_fused": block(range(24 * 1_024))})
        store.append(session, "job_4", {"val/accuracy_fused": block(range(1_024))})
    with reading(engine) as session:
        lines = sparklines(session, kinds)
    for job_id, count in (("job_2", 24 * 1_024), ("job_4", 1_024)):
        assert len(lines[job_id]) == 24
        assert lines[job_id][0] == pytest.approx(np.sin(np.arange(count // 24) / 50.0).mean(), rel=0.05)
