"""The SQL of estimates: jobs that have succeeded, and how long their attempts took."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from app.models import Attempt, Job, State


def newest_succeeded(session: Session, limit: int) -> Iterable[tuple[str, dict[str, Any]]]:
    """Ids and specifications of the newest jobs that have succeeded."""
    # By the order of ids: the index of states would have all that have succeeded sorted.
    newest = select(Job.id).where(func.coalesce(col(Job.state), "") == State.succeeded).order_by(col(Job.id).desc())
    ids = session.exec(newest.limit(limit)).all()
    return session.exec(select(Job.id, col(Job.spec)).where(col(Job.id).in_(ids)).order_by(col(Job.id).desc()))


def attempts_of(session: Session, job_ids: Collection[str]) -> Sequence[Attempt]:
    """All attempts of these jobs."""
    return session.exec(select(Attempt).where(col(Attempt.job_id).in_(job_ids))).all()
