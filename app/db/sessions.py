"""Sessions that read or write, callbacks around a commit, locks by name, and a condition that both databases need."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Engine, Text, any_, literal, text
from sqlmodel import Session, col

from app.db.engine import read_engine

_BEFORE, _AFTER = "before_commit", "after_commit"


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session that commits at the end, between the callbacks of `before_commit` and `after_commit`."""
    with _write_lock(engine), Session(engine) as session:
        yield session
        for hook in session.info.pop(_BEFORE, []):
            hook()
        session.commit()
        hooks = session.info.pop(_AFTER, [])
    for hook in hooks:
        hook()


# SQLite allows one writer and polls for its lock; within a process, threads hand a lock over faster.
_sqlite_writer = threading.Lock()


def _write_lock(engine: Engine) -> AbstractContextManager[Any]:
    return _sqlite_writer if engine.dialect.name == "sqlite" else nullcontext()


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session that only reads: on SQLite it neither blocks a writer nor is blocked by one.

    Changes of its objects are not written, also not before its next query.
    """
    with Session(read_engine(engine), autoflush=False) as session:
        yield session


def before_commit(session: Session, hook: Callable[[], object]) -> None:
    """Register a callback that runs as the last part of the session's transaction."""
    session.info.setdefault(_BEFORE, []).append(hook)


def after_commit(session: Session, hook: Callable[[], object]) -> None:
    """Register a callback that runs once the session's transaction has been committed, and only then."""
    session.info.setdefault(_AFTER, []).append(hook)


def among(session: Session, column: Any, values: Sequence[str]) -> ColumnElement[bool]:
    """The condition that a column of text has one of these values.

    On PostgreSQL they are one parameter, and not one each as with `in_`, which takes longer than the query.
    """
    if session.get_bind().dialect.name == "postgresql":
        return col(column) == any_(literal(list(values), ARRAY(Text)))
    return col(column).in_(values)


def lock_name(session: Session, name: str) -> None:
    """Wait until no other transaction holds the lock of this name; it is held to the end of this transaction.

    On SQLite there is only one writer at a time, which does the same.
    """
    if _has_locks(session):
        session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})


def try_lock_name(session: Session, name: str) -> bool:
    """Like `lock_name`, but returns False instead of waiting."""
    if not _has_locks(session):
        return True
    query = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
    return bool(session.execute(query, {"name": name}).scalar())


def _has_locks(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
