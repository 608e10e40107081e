"""The SQL of live events and logs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col, select

from app.models import TERMINAL_STATES, Event, Job


class StreamedEvent(NamedTuple):
    """An event of a job, without the time, which streams do not send."""

    job_id: str
    id: int
    type: str
    data: dict[str, Any]

    @property
    def ends_job(self) -> bool:
        """Whether this is the change to a terminal state."""
        return self.type == "state" and self.data.get("state") in TERMINAL_STATES


def _streamed(rows: Sequence[Event]) -> list[StreamedEvent]:
    return [StreamedEvent(row.job_id, row.id or 0, row.type, row.data) for row in rows]


def latest_event_id(session: Session) -> int:
    """The highest event id; 0 if there is none."""
    return session.exec(select(func.max(Event.id))).one() or 0


def events_after(
    session: Session,
    after: int,
    limit: int,
    *,
    jobs: Collection[str] | None = None,
    types: Collection[str] | None = None,
) -> list[StreamedEvent]:
    """Events with a higher id, oldest first: of all jobs and types, or of some."""
    query = select(Event).where(col(Event.id) > after).order_by(col(Event.id))
    if jobs is not None:
        query = query.where(col(Event.job_id).in_(jobs))
    if types is not None:
        query = query.where(col(Event.type).in_(types))
    return _streamed(session.exec(query.limit(limit)).all())


def job_events_after(session: Session, job_id: str, after: int, limit: int) -> list[StreamedEvent]:
    """Events of one job with a higher id, oldest first."""
    query = select(Event).where(Event.job_id == job_id, col(Event.id) > after)
    return _streamed(session.exec(query.order_by(col(Event.id)).limit(limit)).all())


def latest_events(session: Session, job_id: str, limit: int, types: Collection[str]) -> list[Event]:
    """The latest events of a job of these types, newest first."""
    query = select(Event).where(Event.job_id == job_id, col(Event.type).in_(types))
    return list(session.exec(query.order_by(col(Event.id).desc()).limit(limit)))


def attempt_and_end(session: Session, job_id: str) -> tuple[int, bool]:
    """The latest attempt of a job, and whether the job has ended; a deleted job has."""
    row = session.exec(select(Job.attempt, Job.state).where(Job.id == job_id)).first()
    return (0, True) if row is None else (row[0], row[1] in TERMINAL_STATES)
