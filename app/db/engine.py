"""Engines for SQLite and PostgreSQL."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import Engine, create_engine, event


def make_engine(url: str) -> Engine:
    """An engine for SQLite (write-ahead log, waits up to 30 s for a lock) or PostgreSQL."""
    if not url.startswith("sqlite"):
        # Only a service that has one needs its driver.
        from app.db.postgres import make_postgres_engine

        return make_postgres_engine(url)
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, pool_size=20, max_overflow=40)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # Disables the driver's implicit transactions, which begin too late; the "begin" listener starts them.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=30000",
            "cache_size=-20000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A read transaction that starts to write fails at once whatever the timeout, so writers lock at the start.
        writes = connection.get_execution_options().get("mcn_writes", True)
        connection.connection.driver_connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@lru_cache(maxsize=8)
def read_engine(engine: Engine) -> Engine:
    """The same connection pool, for statements that only read.

    On SQLite they are in transactions that take no write lock. On PostgreSQL each is a transaction of its own: there
    every statement sees what has been committed before it anyway, and beginning and ending one takes two more answers.
    Rows cannot be read in parts (`yield_per`), which needs a transaction.
    """
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="AUTOCOMMIT")
    return engine.execution_options(mcn_writes=False)
