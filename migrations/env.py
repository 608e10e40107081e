"""Alembic's environment: migrates the database whose URL `app.db.upgrade` sets."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, event
from sqlmodel import SQLModel

import app.models  # noqa: F401 (registers the tables)

url = context.config.get_main_option("sqlalchemy.url")
assert url is not None
engine = create_engine(url)
if engine.dialect.name == "sqlite":

    @event.listens_for(engine, "connect")
    def _set_busy_timeout(connection: object, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout=30000")  # type: ignore[attr-defined]


with engine.connect() as connection:
    # Batch mode: SQLite has no ALTER TABLE for most changes, so Alembic copies the table.
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        if engine.dialect.name == "postgresql":
            # Services that start at the same time migrate one after another: all migrations are one transaction,
            # and the lock is held until it ends.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4241)")
        context.run_migrations()
engine.dispose()
