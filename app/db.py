"""The database: engine, read and write sessions, callbacks after a commit, and migrations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event, text
from sqlmodel import Session

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parents[1] / "migrations"
_HOOKS = "after_commit"


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


def iso(time: datetime | None) -> str | None:
    """A stored time in ISO 8601 with milliseconds and `Z`, as clients see it."""
    return None if time is None else time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def make_engine(url: str) -> Engine:
    """An engine for SQLite (write-ahead log, waits up to 30 s for a lock) or PostgreSQL."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_size=20, max_overflow=40)
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


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session that commits at the end and then runs the callbacks of `after_commit`."""
    with _write_lock(engine), Session(engine) as session:
        yield session
        session.commit()
        hooks = session.info.pop(_HOOKS, [])
    for hook in hooks:
        hook()


# SQLite allows one writer and polls for its lock; within a process, threads hand a lock over faster.
_sqlite_writer = threading.Lock()


def _write_lock(engine: Engine) -> AbstractContextManager[Any]:
    return _sqlite_writer if engine.dialect.name == "sqlite" else nullcontext()


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session that only reads: on SQLite it neither blocks a writer nor is blocked by one."""
    with Session(read_engine(engine)) as session:
        yield session


@lru_cache(maxsize=8)
def read_engine(engine: Engine) -> Engine:
    """The same connection pool with transactions that take no write lock on SQLite."""
    return engine.execution_options(mcn_writes=False)


def after_commit(session: Session, hook: Callable[[], object]) -> None:
    """Register a callback that runs once the session's transaction has been committed, and only then."""
    session.info.setdefault(_HOOKS, []).append(hook)


def serialize_events(session: Session) -> None:
    """Wait for other transactions that change states or add events; on SQLite the write lock does the same.

    Event ids then increase in commit order, and a state that is read afterwards does not change until the commit. Call
    it before any row of a job is locked: two transactions that take their locks in opposite orders would deadlock.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(4242)"))


def upgrade(url: str) -> None:
    """Apply all migrations up to the latest one."""
    # Alembic takes a quarter of a second to import, and the worker never needs it.
    from alembic import command

    command.upgrade(_alembic(url), "head")


def is_current(engine: Engine) -> bool:
    """Whether the latest migration has been applied."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with reading(engine) as session:
        current = MigrationContext.configure(session.connection()).get_current_revision()
    return current == ScriptDirectory(str(MIGRATIONS)).get_current_head()


def _alembic(url: str) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config
