"""Reading jobs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CompoundSelect, tuple_, union
from sqlmodel import Session, col, select

from app.http import paging
from app.http.errors import NotFound
from app.jobs.schemas import view
from app.models import Attempt, Dependency, Event, Job, Series, State, SweepPoint, Tag

# A sort by its name: the column, and whether the largest comes first. Ids rise with time.
SORTS: dict[str, tuple[str, bool, type]] = {
    "-created_at": ("id", True, str),
    "created_at": ("id", False, str),
    "-priority": ("priority", True, int),
    "priority": ("priority", False, int),
    "name": ("name", False, str),
    "-name": ("name", True, str),
}


def get_job(session: Session, job_id: str) -> Job:
    """A job; raises NotFound."""
    job = session.get(Job, job_id) if job_id.isascii() and "\0" not in job_id else None
    if job is None:
        raise NotFound(f"there is no job {job_id[:80]!r}: `GET /jobs` lists those that are")
    return job


def views(session: Session, jobs: list[Job]) -> list[dict[str, Any]]:
    """Jobs as clients see them, in four queries however many they are."""
    ids = [job.id for job in jobs]
    tags: dict[str, list[str]] = {}
    for job_id, tag in session.exec(select(Tag.job_id, Tag.tag).where(col(Tag.job_id).in_(ids)).order_by(Tag.tag)):
        tags.setdefault(job_id, []).append(tag)
    needs: dict[str, list[str]] = {}
    waits = select(Dependency.job_id, Dependency.depends_on).join(Job, col(Job.id) == col(Dependency.depends_on))
    waits = waits.where(col(Dependency.job_id).in_(ids), Job.state != State.succeeded)
    for job_id, needed in session.exec(waits.order_by(Dependency.depends_on)):
        needs.setdefault(job_id, []).append(needed)
    metrics: dict[str, dict[str, float | None]] = {}
    latest = select(Series.job_id, Series.key, Series.last).where(col(Series.job_id).in_(ids))
    for job_id, key, last in session.exec(latest.order_by(Series.key)):
        metrics.setdefault(job_id, {})[key] = last
    return [view(job, tags.get(job.id, []), needs.get(job.id, []), metrics.get(job.id, {})) for job in jobs]


def list_jobs(
    session: Session,
    *,
    state: list[str],
    kind: str | None,
    tag: str | None,
    sweep: str | None,
    q: str | None,
    sort: str,
    limit: int,
    cursor: str | None,
) -> dict[str, Any]:
    """A page of jobs."""
    column, descending, kind_of = SORTS[sort]
    keyed = [col(getattr(Job, column))] if column == "id" else [col(getattr(Job, column)), col(Job.id)]
    statement = select(Job)
    if state:
        statement = statement.where(col(Job.state).in_(state))
    if kind:
        statement = statement.where(Job.kind == kind)
    if tag:
        statement = statement.where(col(Job.id).in_(select(Tag.job_id).where(Tag.tag == tag)))
    if sweep:
        # Those that it made, and those that were there before and do for a point of it.
        made = select(Job.id).where(Job.sweep == sweep)
        its: CompoundSelect[str] = union(made, select(SweepPoint.job_id).where(SweepPoint.sweep_id == sweep))
        statement = statement.where(col(Job.id).in_(its))
    if q:
        statement = statement.where(col(Job.name).contains(q, autoescape=True))
    if cursor:
        place = paging.decode(cursor, [str] if column == "id" else [kind_of, str])
        key, at = tuple_(*keyed), tuple_(*place)
        statement = statement.where(key < at if descending else key > at)
    order = [part.desc() if descending else part.asc() for part in keyed]
    found = list(session.exec(statement.order_by(*order).limit(limit + 1)))

    def cursor_of(job: Job) -> str:
        return paging.encode(job.id) if column == "id" else paging.encode(getattr(job, column), job.id)

    shown = paging.page(found, limit, cursor_of)
    return shown | {"items": views(session, shown["items"])}


def list_events(session: Session, job_id: str, *, after: int, limit: int) -> list[Event]:
    """Events of a job after an id, oldest first."""
    statement = select(Event).where(Event.job_id == job_id, col(Event.id) > after)
    return list(session.exec(statement.order_by(col(Event.id)).limit(limit)))


def list_attempts(session: Session, job_id: str) -> list[Attempt]:
    """A job's attempts, oldest first."""
    return list(session.exec(select(Attempt).where(Attempt.job_id == job_id).order_by(col(Attempt.number))))


def needed_by(session: Session, job_id: str) -> list[Job]:
    """The jobs that wait for a job's components or use them."""
    statement = (
        select(Job).join(Dependency, col(Dependency.job_id) == col(Job.id)).where(Dependency.depends_on == job_id)
    )
    return list(session.exec(statement))
