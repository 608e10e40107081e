"""Writes events as the last statement of their transaction, so that their ids increase in commit order.

A reader that resumes after an id then misses nothing. On PostgreSQL that takes a lock which all transactions with
events share; it is held from the insertion to the commit, and not while a transaction does its work. The deliveries of
webhooks are written with the events that they announce.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, text
from sqlmodel import Session, col

from app.db import before_commit
from app.jobs.webhook_queries import add_deliveries, announced_jobs
from app.models import Event

_PENDING = "pending_events"
# Rows of one statement: each must be done within the time limit of a statement, whatever their number.
MAX_ROWS = 2_000
# The server ends a session that stops between insertion and commit, where there is nothing left to compute.
_LOCK = text("SELECT set_config('idle_in_transaction_session_timeout', '2s', true), pg_advisory_xact_lock(4242)")


def record_events(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Adds events, each with `job_id`, `time`, `type` and `data`, to a session of `app.db.transaction`."""
    pending = session.info.setdefault(_PENDING, [])
    if not pending:
        before_commit(session, lambda: _write(session))
    pending.extend(rows)


def _write(session: Session) -> None:
    rows = session.info.pop(_PENDING)
    session.flush()
    announced = announced_jobs(session, rows)
    if session.get_bind().dialect.name == "postgresql":
        session.execute(_LOCK)
    for start in range(0, len(rows), MAX_ROWS):
        some = rows[start : start + MAX_ROWS]
        if not announced:
            session.connection().execute(insert(Event), some)
            continue
        statement = insert(Event).returning(col(Event.id), sort_by_parameter_order=True)
        ids: Sequence[Any] = session.connection().execute(statement, some).scalars().all()
        add_deliveries(session, zip(ids, some, strict=True), announced)
