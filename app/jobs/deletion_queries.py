"""The SQL of deletions, apart from that of the job itself (`queries.delete_job`). Nothing here commits."""

from __future__ import annotations

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from app.models import TERMINAL_STATES, Dependency, FileDeletion, Job, State

UNFINISHED = tuple(state for state in State if state not in TERMINAL_STATES)


def is_needed() -> ColumnElement[bool]:
    """Whether an unfinished job uses components of a job, so that `deletion.delete_job` would refuse it."""
    users = select(Dependency.depends_on).join(Job, col(Job.id) == col(Dependency.job_id))
    return col(Job.id).in_(users.where(col(Job.state).in_(UNFINISHED)).correlate(None))


def add_file_deletion(session: Session, job_id: str) -> None:
    """Remembers that files of a job are to be removed after the commit."""
    session.merge(FileDeletion(job_id=job_id))


def forget_file_deletion(session: Session, job_id: str) -> None:
    """Called when the files are gone, or are needed again."""
    row = session.get(FileDeletion, job_id)
    if row is not None:
        session.delete(row)


def list_file_deletions(session: Session, limit: int) -> list[str]:
    """The jobs of which files are still to be removed."""
    return list(session.exec(select(FileDeletion.job_id).order_by(FileDeletion.job_id).limit(limit)))
