"""Migrations: one head, up and down, and no drift from the models, on SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlmodel import SQLModel

from app.db import MIGRATIONS, _alembic, is_current, make_engine, upgrade


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'mcn.db'}"
    return str(request.getfixturevalue("postgres_url"))


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory(str(MIGRATIONS)).get_heads()) == 1


def test_up_without_drift_and_down_to_nothing(url: str) -> None:
    engine = make_engine(url)
    assert not is_current(engine)
    upgrade(url)
    upgrade(url)
    assert is_current(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    command.downgrade(_alembic(url), "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    upgrade(url)
    assert is_current(engine)
    engine.dispose()


def test_a_state_that_is_none_is_refused_by_the_database(url: str) -> None:
    from sqlalchemy.exc import IntegrityError

    from app.db import transaction
    from app.models import Job

    upgrade(url)
    engine = make_engine(url)
    job = Job(id="job_1", kind="expert", name="", state="happy", owner="x", spec={}, defaulted=[])
    with pytest.raises(IntegrityError), transaction(engine) as session:
        session.add(job)
    engine.dispose()
