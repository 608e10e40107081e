"""Databases at size: bulk inserts of rows and of metric points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import Engine, insert
from sqlmodel import SQLModel

from app.db import make_engine, transaction, upgrade
from app.models import Job
from app.results.metrics import store

# Bulk inserts do not see the defaults of the columns.
_JOB_DEFAULTS: dict[str, Any] = {
    "kind": "expert", "name": "", "executor": "local", "state": "queued", "owner": "x", "spec": {}, "defaulted": [],
    "attempt": 0, "failures": 0, "priority": 0,
}  # fmt: skip


def new_database(url: str) -> Engine:
    """An empty database in its latest version."""
    upgrade(url)
    return make_engine(url)


def insert_rows(engine: Engine, table: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts rows that all have the same columns."""
    with transaction(engine) as session:
        session.connection().execute(insert(table), [dict(row) for row in rows])


def insert_jobs(engine: Engine, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts jobs, of which only the ids must be given."""
    at = {"created_at": datetime.now(UTC)}
    insert_rows(engine, Job, [_JOB_DEFAULTS | at | dict(row) for row in rows])


def fill_series(engine: Engine, job_id: str, keys: Sequence[str], count: int, noise: float = 0.0) -> None:
    """Gives a job `count` points of each metric, at steps from 0.

    With noise, which is a standard deviation, neither values nor times compress better than those of a real job.
    """
    steps = np.arange(count)
    random = np.random.default_rng(count)
    blocks = {
        key: store.Block(
            steps,
            np.sin(steps / 1e4) + noise * random.standard_normal(count),
            steps + noise * random.random(count),
        )
        for key in keys
    }
    with transaction(engine) as session:
        store.append(session, job_id, blocks)
