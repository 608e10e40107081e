"""The SQL of backups. A database may be of an earlier version when it is backed up, so that reads name few columns."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, text, update
from sqlmodel import Session, col, select

from app.models import Attempt, Job


class BackedUpJob(NamedTuple):
    """A job with its state and the number of its latest attempt."""

    id: str
    state: str
    attempt: int


def all_jobs(connection: Connection) -> list[BackedUpJob]:
    """Every job."""
    return [BackedUpJob(*row) for row in connection.execute(text("SELECT id, state, attempt FROM jobs ORDER BY id"))]


def revision_of(connection: Connection) -> str | None:
    """The latest migration; raises an SQLAlchemyError if the database has no tables of mcn."""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def export_snapshot(connection: Connection) -> str:
    """The id under which pg_dump sees what this transaction sees, for as long as the transaction is open."""
    # The transaction does nothing while pg_dump runs.
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    return str(connection.execute(text("SELECT pg_export_snapshot()")).scalar_one())


def tables_of(connection: Connection) -> list[str]:
    """The tables that a PostgreSQL database has."""
    query = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY 1"
    return list(connection.execute(text(query)).scalars())


def detach_attempts(session: Session) -> list[tuple[str, int]]:
    """Forgets the processes of all attempts that have not ended, and all sizes; returns job ids and attempt numbers.

    They belong to the service that was backed up: it may be alive, and must neither be watched nor stopped by this one.
    """
    unfinished = select(Attempt.job_id, Attempt.number).where(col(Attempt.ended_at).is_(None)).order_by(Attempt.job_id)
    keys = list(session.exec(unfinished).all())
    values = {"handle": None, "slurm_job_id": None, "slurm_job_name": None, "array_index": None}
    session.execute(update(Attempt).where(col(Attempt.ended_at).is_(None)).values(**values))
    # A backup may lack files of theirs: a worker measures them again.
    session.execute(update(Job).values(size_bytes=None))
    return keys
