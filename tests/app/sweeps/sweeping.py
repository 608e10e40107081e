"""Sweeps as tests submit and read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sqlalchemy import event

from app.db import transaction
from app.models import State
from app.results.metrics import store
from tests.app.api import FUSION, Service

TYPES = ["multiplicative", "concatenation"]
BASE = FUSION | {"name": "base", "tags": ["a"], "training": {"epochs": 2}}
GRID: dict[str, list[Any]] = {"fusion.type": TYPES, "training.seed": [1, 2, 3]}
SUCCEEDED = (State.starting, State.running, State.succeeded)


def sweep(grid: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": "s", "base": BASE, "grid": GRID if grid is None else grid, **more}


def create(service: Service, body: dict[str, Any] | None = None, user: str = "admin") -> dict[str, Any]:
    answer = service.post("/sweeps", body or sweep(), user)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/sweeps/{answer.json()['id']}"
    return dict(answer.json())


def view(service: Service, sweep_id: str, query: str = "") -> dict[str, Any]:
    answer = service.get(f"/sweeps/{sweep_id}{query}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def points(service: Service, sweep_id: str, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = service.get(f"/sweeps/{sweep_id}/points?limit=4{query}{cursor}").json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = f"&cursor={page['next_cursor']}"


def jobs(service: Service, sweep_id: str) -> list[str]:
    return [str(point["job"]) for point in points(service, sweep_id)]


def measure(service: Service, job_id: str, key: str, *values: float) -> None:
    steps = np.arange(1, len(values) + 1, dtype=np.int64)
    with transaction(service.app.state.engine) as session:
        store.append(session, job_id, {key: store.Block(steps, np.array(values), steps.astype(float))})


def counts(service: Service, sweep_id: str) -> dict[str, int]:
    return {state: count for state, count in view(service, sweep_id)["counts"].items() if count}


@contextmanager
def statements(service: Service) -> Iterator[list[str]]:
    """The SQL statements that are executed meanwhile."""
    executed: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        executed.append(statement)

    engine = service.app.state.engine
    event.listen(engine, "before_cursor_execute", record)
    yield executed
    event.remove(engine, "before_cursor_execute", record)
