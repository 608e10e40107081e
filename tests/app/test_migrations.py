"""Migrations: one head, up and down without drift from the models, on SQLite and PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel, col, select

from app.db import is_current, make_engine, transaction, upgrade
from app.db.migrations import MIGRATIONS, alembic_config
from app.models import Chunk, Component, Job, Retention, Sweep, SweepPoint
from tests.parts import wait_until


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'mcn.db'}"
    return str(request.getfixturevalue("postgres_url"))


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory(str(MIGRATIONS)).get_heads()) == 1


def test_upgrade_matches_the_models_and_downgrade_removes_everything(url: str) -> None:
    engine = make_engine(url)
    assert not is_current(engine)
    upgrade(url)
    upgrade(url)
    assert is_current(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    command.downgrade(alembic_config(url), "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    upgrade(url)
    assert is_current(engine)
    engine.dispose()


def test_services_that_start_at_the_same_time_migrate_one_after_another(postgres_url: str) -> None:
    command_line = [sys.executable, "-c", f"from app.db import upgrade; upgrade({postgres_url!r})"]
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(4241)")
        upgrades = [subprocess.Popen(command_line, stderr=subprocess.PIPE, text=True) for _ in range(2)]

        def all_wait() -> bool:
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            return connection.execute(waiting).fetchone() == (2,)

        wait_until(all_wait, "the start of two migrations")
    errors = [upgrade.communicate()[1] for upgrade in upgrades]
    assert [upgrade.returncode for upgrade in upgrades] == [0, 0], errors
    engine = make_engine(postgres_url)
    assert is_current(engine)
    engine.dispose()


def test_stored_sweeps_survive_the_upgrade_to_points_per_task(url: str) -> None:
    command.upgrade(alembic_config(url), "0003")
    engine = make_engine(url)
    with transaction(engine) as session:
        columns = "id, name, owner, created_at, base, grid"
        values = "'swp_1', 'old', 'alice', '2026-01-01 00:00:00', '{}', '{\"training.seed\": [1]}'"
        session.execute(text(f"INSERT INTO sweeps ({columns}) VALUES ({values})"))
        session.execute(
            text("INSERT INTO sweep_points (sweep_id, number, given, reused) VALUES ('swp_1', 0, :given, false)"),
            {"given": '{"training.seed": 1}'},
        )
    upgrade(url)
    with transaction(engine) as session:
        sweep, point = session.get_one(Sweep, "swp_1"), session.get_one(SweepPoint, ("swp_1", 0))
        assert (sweep.points_per_task, point.point_values) == (1, {"training.seed": 1})
    engine.dispose()


def insert_row(session: Session, table: str, **values: Any) -> None:
    """Inserts a row into a table as some revision has it, which need not be the one of the models."""
    names = ", ".join(values)
    session.execute(text(f"INSERT INTO {table} ({names}) VALUES (:{names.replace(', ', ', :')})"), values)


def test_rows_stored_before_the_dashboard_get_their_scores_and_means(url: str) -> None:
    command.upgrade(alembic_config(url), "0005")
    engine = make_engine(url)
    at = "2026-01-01 00:00:00"
    jobs = {"job_1": "expert", "job_2": "fusion", "job_3": "fusion"}
    series = [("job_1", "val/accuracy_expert_0", 0.75), ("job_2", "val/accuracy_fused", 0.5)]
    series += [("job_2", "val/accuracy_expert_0", 0.25), ("job_3", "train/loss_total", 2.0)]
    values, steps = np.array([1.0, np.nan, 4.0]), np.arange(3, dtype="<i8")
    with transaction(engine) as session:
        given: dict[str, Any] = {"name": "", "state": "running", "executor": "local", "owner": "x", "created_at": at}
        given |= {"attempt": 1, "failures": 0, "priority": 0, "spec": '{"dataset": {"name": "digits"}}'}
        for job_id, kind in jobs.items():
            insert_row(session, "jobs", **given, id=job_id, kind=kind, defaulted="[]")
        for job_id, key, best in series:
            insert_row(session, "series", job_id=job_id, key=key, count=3, last_step=2, max=best)
        for series_id, stored in ((1, values), (2, values[1:2])):
            place = {"series_id": series_id, "number": 0}
            insert_row(session, "chunks", **place, count=3, first_step=0, last_step=2)
            packed = {"steps": steps.tobytes(), "vals": stored.tobytes(), "times": (steps + 9.5).tobytes()}
            insert_row(session, "chunk_data", **place, **packed)
        given = {"job_id": "job_1", "role": "x", "epoch": 1, "selected_by": "val/accuracy", "files": "{}"}
        given |= {"metrics": '{"val/accuracy": 0.75}', "created_at": at}
        for name, config in (("expert_0", '{"arch": "resnet18"}'), ("head", "{}")):
            insert_row(session, "components", **given, id=name, name=name, config=config)
    upgrade(url)
    with transaction(engine) as session:
        assert dict(session.exec(select(Job.id, Job.score)).all()) == {"job_1": 0.75, "job_2": 0.5, "job_3": None}
        chunks = session.exec(select(Chunk.mean, Chunk.last_time).order_by(col(Chunk.series_id))).all()
        assert chunks == [(2.5, 11.5), (None, 11.5)]
        rows = session.exec(select(Component).order_by(col(Component.name)))
        assert [(row.score, row.arch, row.dataset) for row in rows] == [
            (0.75, "resnet18", "digits"),
            (0.75, None, "digits"),
        ]
    command.downgrade(alembic_config(url), "0005")
    assert "score" not in {column["name"] for column in inspect(engine).get_columns("jobs")}
    engine.dispose()


def test_jobs_stored_before_monitoring_are_in_their_state_since_their_last_known_time(url: str) -> None:
    command.upgrade(alembic_config(url), "0012")
    engine = make_engine(url)
    times = {f"{name}_at": f"2026-01-0{day} 00:00:00" for day, name in enumerate(("created", "started", "finished"), 1)}
    values: dict[str, Any] = {"kind": "expert", "name": "", "owner": "x", "executor": "local", "spec": "{}"}
    values |= {"attempt": 1, "failures": 0, "priority": 0, "defaulted": "[]"}
    with transaction(engine) as session:
        for known, state in enumerate(("queued", "running", "succeeded"), 1):
            given = dict(list(times.items())[:known])
            insert_row(session, "jobs", **values, **given, id=f"job_{known}", state=state)
    upgrade(url)
    with transaction(engine) as session:
        since = [session.get_one(Job, f"job_{known}").state_since for known in (1, 2, 3)]
    assert [time.day for time in since if time] == [1, 2, 3]
    engine.dispose()


def test_the_database_refuses_an_unknown_state(database: Engine) -> None:
    job = Job(id="job_1", kind="expert", name="", state="happy", owner="x", spec={}, defaulted=[])
    with pytest.raises(IntegrityError), transaction(database) as session:
        session.add(job)


def test_jobs_stored_before_retention_have_all_their_checkpoints_and_nothing_deletes_them(url: str) -> None:
    command.upgrade(alembic_config(url), "0014")
    engine = make_engine(url)
    values: dict[str, Any] = {"kind": "expert", "name": "", "owner": "x", "executor": "local", "spec": "{}"}
    values |= {"attempt": 1, "failures": 0, "priority": 0, "defaulted": "[]", "created_at": "2020-01-01 00:00:00"}
    with transaction(engine) as session:
        insert_row(session, "jobs", **values, id="job_1", state="failed", finished_at="2020-01-02 00:00:00")
    upgrade(url)
    with transaction(engine) as session:
        assert session.get_one(Job, "job_1").checkpoints_deleted_after is None
        assert session.get(Retention, 1) is None
    command.downgrade(alembic_config(url), "0014")
    with transaction(engine) as session:
        assert session.execute(text("SELECT id FROM jobs")).scalars().all() == ["job_1"]
    upgrade(url)
    engine.dispose()
