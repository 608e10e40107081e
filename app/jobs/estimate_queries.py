"""The SQL of estimates: jobs that have succeeded, and how long their attempts took."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlmodel import Session, col, select

from app.models import Attempt, Job, State


def newest_succeeded(session: Session, limit: int) -> Iterable[tuple[str, dict[str, Any]]]:
    """Ids and specifications of the newest jobs that have succeeded."""
    query = select(Job.id, col(Job.spec)).where(Job.state == State.succeeded).order_by(col(Job.id).desc())
    return session.exec(query.limit(limit))


def attempts_of(session: Session, job_ids: Collection[str]) -> Sequence[Attempt]:
    """All attempts of these jobs."""
    return session.exec(select(Attempt).where(col(Attempt.job_id).in_(job_ids))).all()
