"""SQL about the controls of fusion jobs. Nothing here commits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import insert
from sqlmodel import Session, SQLModel, col, select

from app.models import Control, Job

_INSERT = insert(SQLModel.metadata.tables["controls"])


class ControlRow(NamedTuple):
    """A control with the state and the message of its job; without a job, `absent` says why."""

    role: str
    job_id: str | None
    reused: bool
    absent: str | None
    state: str | None
    name: str | None


def insert_controls(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts the controls of jobs."""
    if rows:
        session.connection().execute(_INSERT, list(rows))


def list_controls(session: Session, job_id: str) -> list[ControlRow]:
    """The controls of a job in the order of their positions."""
    columns = (Control.role, Control.control_job_id, Control.reused, Control.absent, Job.state, Job.name)
    query = select(*columns).outerjoin(Job, col(Job.id) == col(Control.control_job_id))  # type: ignore[call-overload]
    query = query.where(Control.job_id == job_id).order_by(col(Control.position))
    return [ControlRow(*row) for row in session.exec(query)]


def jobs_with_controls(session: Session, job_ids: Sequence[str]) -> set[str]:
    """Those of these jobs that have controls already."""
    return set(session.exec(select(Control.job_id).where(col(Control.job_id).in_(job_ids)).distinct()))
