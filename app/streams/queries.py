"""The SQL of live events and logs."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import sqlalchemy
from sqlalchemy import func
from sqlmodel import Session, col, select

from app.models import TERMINAL_STATES, Event, Job
from app.streams.events import StreamedEvent

# Without the objects of the ORM, which would take most of the time of a read.
_STREAMED = [col(column) for column in (Event.job_id, Event.id, Event.type, Event.data)]


class Snapshot(NamedTuple):
    """Whether a job had ended when the event `last_id` was the latest of all."""

    last_id: int
    has_ended: bool


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
    query = sqlalchemy.select(*_STREAMED).where(col(Event.id) > after).order_by(col(Event.id)).limit(limit)
    if jobs is not None:
        query = query.where(col(Event.job_id).in_(jobs))
    if types is not None:
        query = query.where(col(Event.type).in_(types))
    return [StreamedEvent(*row) for row in session.connection().execute(query)]


def snapshot(session: Session, job_id: str) -> Snapshot:
    """Read in one statement, so that an event is either up to `last_id` or not yet in the state of the job."""
    latest = select(func.coalesce(func.max(Event.id), 0)).scalar_subquery()
    row = session.exec(select(latest, Job.state).where(Job.id == job_id)).first()
    return Snapshot(latest_event_id(session), True) if row is None else Snapshot(row[0], row[1] in TERMINAL_STATES)


def latest_events(session: Session, job_id: str, limit: int, types: Collection[str]) -> list[Event]:
    """The latest events of a job of these types, newest first."""
    query = select(Event).where(Event.job_id == job_id, col(Event.type).in_(types))
    return list(session.exec(query.order_by(col(Event.id).desc()).limit(limit)))


def attempt_and_end(session: Session, job_id: str) -> tuple[int, bool]:
    """The latest attempt of a job, and whether the job has ended; a deleted job has."""
    row = session.exec(select(Job.attempt, Job.state).where(Job.id == job_id)).first()
    return (0, True) if row is None else (row[0], row[1] in TERMINAL_STATES)
