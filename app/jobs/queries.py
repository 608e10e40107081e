"""All SQL about jobs, except lists (`list_queries.py`) and the transition of states (`transitions.py`).

Nothing here commits.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy import Float, Text, bindparam, cast, delete, func, insert, literal, null, text, union_all, update
from sqlalchemy.orm import defer
from sqlalchemy.orm.interfaces import ORMOption
from sqlmodel import Session, SQLModel, col, select

from app.db import among
from app.http.errors import NotFound
from app.jobs.event_queries import MAX_ROWS, record_events
from app.jobs.schemas import JobSummary, JobView, Related, columns_of, job_view, summary_fields, summary_view
from app.models import (
    TERMINAL_STATES,
    Attempt,
    Chunk,
    ChunkData,
    Component,
    Dependency,
    Event,
    Job,
    Series,
    State,
    Tag,
    Worker,
)  # fmt: skip
from core.spec import ComponentRef

# Most of a row's bytes, which lists do not show.
SPEC_COLUMNS = ("spec", "defaulted", "plan")


def without(columns: Sequence[str]) -> list[ORMOption]:
    """Options of a query that leave out columns of jobs; reading them later is an error."""
    return [defer(getattr(Job, column), raiseload=True) for column in columns]


def get_job(session: Session, job_id: str) -> Job:
    """A job; raises NotFound."""
    job = session.get(Job, job_id) if job_id.isascii() and "\0" not in job_id else None
    if job is None:
        raise _not_found(job_id)
    return job


def locked_job(session: Session, job_id: str) -> Job | None:
    """A job whose row nobody else changes until the commit; None if there is none."""
    return session.get(Job, job_id, with_for_update={"key_share": True}, populate_existing=True)


def get_locked_job(session: Session, job_id: str) -> Job:
    """A job whose row nobody else changes until the commit; raises NotFound."""
    get_job(session, job_id)
    job = locked_job(session, job_id)
    if job is None:
        raise _not_found(job_id)
    return job


def get_jobs(session: Session, job_ids: Sequence[str]) -> list[Job]:
    """Jobs in this order; raises NotFound if one of them does not exist."""
    require_jobs(session, job_ids)
    return jobs_in_order(session, job_ids)


def jobs_in_order(session: Session, job_ids: Sequence[str], left_out: Sequence[str] = ()) -> list[Job]:
    """Those of these jobs that exist, in this order, without some of their columns."""
    query = select(Job).where(among(session, Job.id, job_ids)).options(*without(left_out))
    jobs = {job.id: job for job in session.exec(query)}
    return [jobs[job_id] for job_id in job_ids if job_id in jobs]


def require_jobs(session: Session, job_ids: Sequence[str]) -> None:
    """Raises NotFound if one of these jobs does not exist."""
    valid = [job_id for job_id in job_ids if job_id.isascii() and "\0" not in job_id]
    existing = set(session.exec(select(Job.id).where(col(Job.id).in_(valid))))
    for job_id in job_ids:
        if job_id not in existing:
            raise _not_found(job_id)


def _not_found(job_id: str) -> NotFound:
    return NotFound(f"there is no job {job_id[:80]!r}: `mcn jobs` or `GET /jobs` lists the existing ones")


def views(session: Session, jobs: Sequence[Job]) -> list[JobView]:
    """Jobs as the API shows them, with three queries for any number of them."""
    related = _related(session, [job.id for job in jobs])
    return [job_view(job, related[job.id]) for job in jobs]


def summaries(session: Session, jobs: Sequence[Job]) -> list[JobSummary]:
    """The same without `spec`, `defaulted` and `plan`."""
    related = _related(session, [job.id for job in jobs])
    return [summary_view(job, related[job.id]) for job in jobs]


def jobs_as_json(session: Session, job_ids: Sequence[str], fields: Sequence[str]) -> list[str]:
    """Some fields of those of these jobs that exist as the API shows them, in this order, each a JSON object.

    What is stored as JSON is passed on as it is: reading and writing it again would take most of the time of a list.
    """
    computed, stored = ([name for name in fields if (name in SPEC_COLUMNS) == is_stored] for is_stored in (False, True))
    columns = [getattr(Job, name) for name in columns_of(computed)]
    texts = [func.coalesce(cast(getattr(Job, name), Text), "null").label(name) for name in stored]
    result = session.connection().execute(select(*columns, *texts).where(among(session, Job.id, job_ids)))
    rows = {row.id: row for row in result}
    related = _related(session, job_ids, fields)
    shown = []
    for job_id in job_ids:
        if job_id not in rows:
            # It was deleted after the list was read.
            continue
        row = rows[job_id]
        values = to_json(summary_fields(row, related[job_id], computed), inf_nan_mode="null").decode()
        members = [values[1:-1], *(f'"{name}":{getattr(row, name)}' for name in stored)]
        shown.append("{" + ",".join(filter(None, members)) + "}")
    return shown


def _related(session: Session, ids: Sequence[str], fields: Container[str] = Related._fields) -> dict[str, Related]:
    """What other tables hold about jobs, in one query: three would take longer than all else that a list does."""
    no_number = cast(null(), Float)
    tags = select(literal("tags"), Tag.job_id, Tag.tag, no_number).where(among(session, Tag.job_id, ids))
    unfinished = select(literal("waits_for"), Dependency.job_id, Dependency.depends_on, no_number)
    unfinished = unfinished.join(Job, col(Job.id) == col(Dependency.depends_on))
    unfinished = unfinished.where(among(session, Dependency.job_id, ids), Job.state != State.succeeded)
    metrics = select(literal("metrics"), Series.job_id, Series.key, Series.last)
    metrics = metrics.where(among(session, Series.job_id, ids))
    parts = {"tags": tags, "waits_for": unfinished, "metrics": metrics}
    related = {job_id: Related([], [], {}) for job_id in ids}
    chosen = [part for name, part in parts.items() if name in fields]
    if session.autoflush:
        session.flush()
    values = session.connection().execute(union_all(*chosen).order_by(text("3"))) if chosen else ()
    for field, job_id, name, number in values:
        if field == "metrics":
            related[job_id].metrics[name] = number
        else:
            getattr(related[job_id], field).append(name)
    return related


def list_events(
    session: Session, job_id: str, *, after: int, limit: int, types: Sequence[str] | None = None
) -> list[Event]:
    """The events of a job with ids above `after`, of these types if any are given, oldest first."""
    statement = select(Event).where(Event.job_id == job_id, col(Event.id) > after)
    if types:
        statement = statement.where(col(Event.type).in_(types))
    return list(session.exec(statement.order_by(col(Event.id)).limit(limit)))


def list_attempts(session: Session, job_id: str) -> list[Attempt]:
    """The attempts of a job, oldest first."""
    return attempts_of_jobs(session, [job_id])[job_id]


def attempts_of_jobs(session: Session, job_ids: Sequence[str]) -> dict[str, list[Attempt]]:
    """The attempts of each of some jobs, oldest first."""
    attempts: dict[str, list[Attempt]] = {job_id: [] for job_id in job_ids}
    query = select(Attempt).where(col(Attempt.job_id).in_(job_ids)).order_by(col(Attempt.number))
    for attempt in session.exec(query):
        attempts[attempt.job_id].append(attempt)
    return attempts


def dependents(session: Session, job_id: str, *, unfinished: bool = False, limit: int | None = None) -> list[Job]:
    """The jobs that use components of a job, oldest first, without `spec`, `defaulted` and `plan`."""
    statement = select(Job).join(Dependency, col(Dependency.job_id) == col(Job.id))
    statement = statement.where(Dependency.depends_on == job_id)
    if unfinished:
        statement = statement.where(col(Job.state).not_in(TERMINAL_STATES))
    statement = statement.options(*without(SPEC_COLUMNS)).order_by(Dependency.job_id).limit(limit)
    return list(session.exec(statement))


def dependency_states(session: Session, job_id: str) -> dict[str, State]:
    """The state of each job that a job depends on."""
    statement = select(Job.id, Job.state).join(Dependency, col(Dependency.depends_on) == col(Job.id))
    return {other: State(state) for other, state in session.exec(statement.where(Dependency.job_id == job_id))}


_INSERT = {table: insert(SQLModel.metadata.tables[str(table.__tablename__)]) for table in (Job, Tag, Dependency)}


def insert_jobs(
    session: Session, jobs: Sequence[Job], tags: Sequence[dict[str, str]], dependencies: Sequence[dict[str, str]]
) -> None:
    """Inserts jobs with their tags, their dependencies and a first `state` event each."""
    rows = [job.model_dump() for job in jobs]
    events = [
        {
            "job_id": row["id"],
            "time": row["created_at"],
            "type": "state",
            "data": {"state": row["state"].value, "reason": None, "message": None},
        }
        for row in rows
    ]
    # Core inserts: the unit of work would take most of the time of a submission.
    connection = session.connection()
    for table, values in ((Job, rows), (Tag, tags), (Dependency, dependencies)):
        for start in range(0, len(values), MAX_ROWS):
            connection.execute(_INSERT[table], list(values[start : start + MAX_ROWS]))
    record_events(session, events)


def update_queued(session: Session, job: Job, values: dict[str, Any]) -> bool:
    """Sets columns of a job that is still queued and has begun no other attempt; returns False if it is not."""
    guard = (col(Job.id) == job.id, col(Job.state) == State.queued, col(Job.attempt) == job.attempt)
    return bool(session.execute(update(Job).where(*guard).values(**values)).rowcount == 1)  # type: ignore[attr-defined]


def delete_job(session: Session, job: Job) -> None:
    """Deletes a job with everything that belongs to it."""
    series = select(Series.id).where(Series.job_id == job.id)
    for table in (ChunkData, Chunk):
        session.execute(delete(table).where(col(table.series_id).in_(series)))
    session.execute(delete(Dependency).where(col(Dependency.depends_on) == job.id))
    session.delete(job)


class ComponentRow(NamedTuple):
    """The job of a referenced component; `name` and `config` are null until the component has been saved."""

    job: str
    state: str
    kind: str
    spec: dict[str, Any]
    name: str | None
    config: dict[str, Any] | None
    data_sha256: str | None


# Built once: building these statements takes longer than executing them.
_COMPONENT_COLUMNS = select(
    Job.id,
    Job.state,
    Job.kind,
    col(Job.spec),
    col(Component.name),
    col(Component.config),
    col(Job.data_sha256),  # type: ignore[call-overload]
)
_COMPONENT_BY_NAME = _COMPONENT_COLUMNS.select_from(Job).outerjoin(
    Component, (col(Component.job_id) == col(Job.id)) & (col(Component.name) == bindparam("component"))
).where(col(Job.id) == bindparam("job"))  # fmt: skip
_COMPONENT_BY_ID = (
    _COMPONENT_COLUMNS.select_from(Component)
    .join(Job, col(Component.job_id) == col(Job.id))
    .where(col(Component.id) == bindparam("component"))
)


def find_component(session: Session, ref: ComponentRef) -> ComponentRow | None:
    """The job of a component that is referenced by job and name or by id; None if there is none."""
    values = {"component": ref.component} | ({} if ref.job is None else {"job": ref.job})
    statement = _COMPONENT_BY_ID if ref.job is None else _COMPONENT_BY_NAME
    row = session.connection().execute(statement, values).first()
    return None if row is None else ComponentRow(*row)


def may_have_slurm(session: Session) -> bool:
    """False if workers are known and none of them has ever had Slurm."""
    clusters = session.exec(select(Worker.slurm)).all()
    return not clusters or any(cluster is not None for cluster in clusters)
