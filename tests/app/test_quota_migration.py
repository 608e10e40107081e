"""What an earlier version has stored counts after the upgrade to quotas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from sqlmodel import Session, select

from app.db import make_engine, reading, transaction, upgrade
from app.db.migrations import alembic_config
from app.models import Attempt, DeviceTime, Job


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'mcn.db'}"
    return str(request.getfixturevalue("postgres_url"))


def insert(session: Session, table: str, **values: Any) -> None:
    columns: list[Any] = [sqlalchemy.column(name) for name in values]
    session.execute(sqlalchemy.insert(sqlalchemy.table(table, *columns)).values(**values))


def test_stored_attempts_count_by_owner_and_month(url: str) -> None:
    command.upgrade(alembic_config(url), "0014")
    engine = make_engine(url)
    job: dict[str, Any] = {"kind": "expert", "name": "", "state": "succeeded", "created_at": "2026-01-31 20:00:00"}
    job |= {"attempt": 1, "failures": 0, "priority": 0, "defaulted": "[]"}
    job["spec"] = json.dumps({"resources": {"gpus": 2, "nodes": 2}})
    attempt: dict[str, Any] = {"number": 1, "host": "here", "started_at": "2026-01-31 22:00:00", "offset": 0, "seq": 0}
    event = {"type": "state", "time": "2026-01-31 23:30:00", "data": '{"state": "running"}'}
    with transaction(engine) as session:
        for job_id, owner, executor, devices, ended_at in (
            ("job_1", "alice", "local", '["0", "1"]', "2026-02-01 01:00:00"),
            ("job_2", "alice", "local", '["cpu"]', "2026-01-31 23:00:00"),
            # In Slurm it was pending for an hour and a half.
            ("job_3", "bob", "slurm", "[]", "2026-02-01 00:30:00"),
            ("job_4", "bob", "local", '["0"]', None),
        ):
            insert(session, "jobs", **job, id=job_id, owner=owner, executor=executor)
            row = attempt | {"job_id": job_id, "executor": executor, "devices": devices, "ended_at": ended_at}
            insert(session, "attempts", **row)
            insert(session, "events", **event, job_id=job_id)
    upgrade(url)
    with reading(engine) as session:
        rows = session.exec(select(DeviceTime)).all()
        times = {(row.owner, row.month): (row.gpu_s / 3600, row.cpu_s / 3600) for row in rows}
        assert times == {
            ("alice", "2026-01"): (4.0, 1.0),
            ("alice", "2026-02"): (2.0, 0.0),
            ("bob", "2026-01"): (2.0, 0.0),
            ("bob", "2026-02"): (2.0, 0.0),
        }
        assert session.get_one(Attempt, ("job_1", 1)).running_at is None
        running_at = session.get_one(Attempt, ("job_3", 1)).running_at
        assert running_at is not None
        assert running_at.isoformat() == "2026-01-31T23:30:00+00:00"
        # A worker measures it later.
        assert session.get_one(Job, "job_1").size_bytes is None
    engine.dispose()
