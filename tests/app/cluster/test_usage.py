"""Device-hours by owner."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from app.cluster.queries import attempts_since
from app.db import now, reading, transaction
from app.models import Attempt, Job
from tests.app.api import EXPERT, Service


def test_usage_counts_device_hours_of_each_owner(service: Service) -> None:
    ids = [service.submit(user="alice"), service.submit(user="alice"), service.submit(user="bob")]
    wide = service.submit(EXPERT | {"resources": {"gpus": 4}}, user="bob")
    common: dict[str, Any] = {"executor": "local", "host": "here"}

    def attempt(job_id: str, number: int, start_h: float, end_h: float | None, devices: list[str]) -> Attempt:
        times = {"started_at": now() - timedelta(hours=start_h)}
        end = None if end_h is None else now() - timedelta(hours=end_h)
        return Attempt(job_id=job_id, number=number, devices=devices, ended_at=end, **times, **common)  # type: ignore[arg-type]

    with transaction(service.app.state.engine) as session:
        session.add_all(
            [
                attempt(ids[0], 1, 10, 9, ["0", "1"]),
                attempt(ids[0], 2, 2, None, ["0"]),
                attempt(ids[1], 1, 5, 4.5, ["0"]),
                # Began before the time in question, and ended before it.
                attempt(ids[2], 1, 30, 23, ["0"]),
                attempt(ids[2], 2, 60, 50, ["0"]),
                # Slurm's devices are not recorded: those that were requested count.
                attempt(wide, 1, 3, 2, []),
            ]
        )
    usage = service.get("/usage?days=1").json()
    assert [(row["owner"], row["attempts"], row["jobs"]) for row in usage["owners"]] == [("bob", 2, 2), ("alice", 3, 2)]
    assert [row["device_hours"] for row in usage["owners"]] == pytest.approx([5.0, 4.5], abs=0.01)
    assert usage["device_hours"] == pytest.approx(9.5, abs=0.01)
    assert service.get("/usage?days=30").json()["device_hours"] == pytest.approx(25.5, abs=0.01)


def test_resources_are_read_of_jobs_whose_attempts_have_no_devices(database: Engine) -> None:
    resources = {"gpus": 4, "nodes": 2}
    with transaction(database) as session:
        session.add(
            Job(id="a", kind="expert", name="", state="running", owner="x", spec={"resources": resources}, defaulted=[])
        )
        session.flush()
        for number, devices in enumerate(([], ["0", "1"])):
            session.add(Attempt(job_id="a", number=number, executor="slurm", host="here", devices=devices))
    with reading(database) as session:
        rows = list(attempts_since(session, now() - timedelta(days=1)))
    assert [(row.num_devices, row.resources) for row in rows] == [(0, resources), (2, None)]
