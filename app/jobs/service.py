"""What can be done to jobs. Nothing here commits: the session's owner does."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert
from sqlmodel import Session, SQLModel, col, select
from ulid import ULID

from app.auth import Principal, may_change
from app.db import after_commit, serialize_events
from app.dispatch import nudge
from app.errors import Conflict, IdempotencyMismatch, InvalidSpec
from app.jobs import queries, references
from app.jobs.schemas import view
from app.jobs.states import FINAL, MOVES, Reason, State, move
from app.models import Chunk, Event, Job, Need, Points, Series, Tag
from app.settings import Settings
from core.spec import JobSpec, SpecError, defaulted, parse_spec, resolve
from core.spec.places import find_path


def checked(settings: Settings, data: object) -> JobSpec:
    """A specification from a request's body; raises InvalidSpec."""
    try:
        spec = parse_spec(data)
    except SpecError as error:
        # What was given is not repeated: it may hold anything, secrets included.
        errors = [{"loc": list(entry.loc), "msg": entry.msg} for entry in error.errors]
        detail = "; ".join(f"{'.'.join(map(str, entry.loc)) or 'body'}: {entry.msg}" for entry in error.errors)
        raise InvalidSpec(detail, errors=errors) from None
    if spec.resources.executor != "local":
        msg = "this service trains on its own machines only: leave it out, or say local"
        raise InvalidSpec(f"resources.executor: {msg}", errors=[{"loc": ["resources", "executor"], "msg": msg}])
    _, _, path = spec.dataset.name.partition(":")
    if path:
        try:
            find_path(path, settings.roots)
        except ValueError as error:
            raise InvalidSpec(str(error), errors=[{"loc": ["dataset", "name"], "msg": str(error)}]) from None
    return spec


def preview(session: Session, spec: JobSpec) -> dict[str, Any]:
    """What a job would be."""
    found = references.check(session, spec)
    return {"kind": spec.kind, "name": spec.name, **_resolved(spec), "waits_for": list(found.unfinished)}


def submit(
    session: Session, settings: Settings, asks: Principal, spec: JobSpec, *, key: str | None = None, body: bytes = b""
) -> tuple[dict[str, Any], bool]:
    """Stores a job, or finds the one that the same idempotency key and body made before.

    Gives it as clients see it, and whether it is new.
    """
    digest = hashlib.sha256(body).hexdigest()
    if key is not None:
        before = session.exec(select(Job).where(Job.owner == asks.owner, Job.idempotency_key == key)).first()
        if before is not None:
            if before.body_sha256 != digest:
                raise IdempotencyMismatch(f"the key made {before.id} with another body: use a new key for a new job")
            return queries.views(session, [before])[0], False
    found = references.check(session, spec)
    state = State.waiting if found.unfinished else State.queued
    job = Job(
        id=f"job_{ULID()}",
        kind=spec.kind,
        name=spec.name,
        state=state,
        priority=spec.priority,
        owner=asks.owner,
        idempotency_key=key,
        body_sha256=digest if key is not None else None,
        **_resolved(spec),
    )
    tags = sorted(set(spec.tags))
    # Plain inserts: what the unit of work would add to them is what this route would spend most of its time on.
    serialize_events(session)
    connection = session.connection()
    connection.execute(_INSERT[Job], job.model_dump())
    if tags:
        connection.execute(_INSERT[Tag], [{"job_id": job.id, "tag": tag} for tag in tags])
    if found.jobs:
        connection.execute(_INSERT[Need], [{"job_id": job.id, "needs": needed} for needed in found.jobs])
    said = {"state": state.value, "reason": None, "message": None}
    connection.execute(_INSERT[Event], {"job_id": job.id, "time": job.created_at, "type": "state", "data": said})
    if state is State.queued:
        nudge(session, settings, "start")
    return view(job, tags, sorted(found.unfinished), {}), True


_INSERT = {table: insert(SQLModel.metadata.tables[str(table.__tablename__)]) for table in (Job, Tag, Need, Event)}


def _resolved(spec: JobSpec) -> dict[str, Any]:
    return {"spec": resolve(spec).model_dump(mode="json", by_alias=True), "defaulted": defaulted(spec)}


def cancel(session: Session, settings: Settings, asks: Principal, job_id: str) -> Job:
    """Ends a job; one that trains is stopped first."""
    return _change(session, settings, asks, job_id, "cancel", (State.cancelled, State.cancelling))


def pause(session: Session, settings: Settings, asks: Principal, job_id: str) -> Job:
    """Has a job write a checkpoint and free its device."""
    return _change(session, settings, asks, job_id, "pause", (State.pausing,))


def resume(session: Session, settings: Settings, asks: Principal, job_id: str) -> Job:
    """Queues a paused job again; it goes on from its checkpoint."""
    return _change(session, settings, asks, job_id, "resume", (State.queued,), origin=State.paused)


def retry(session: Session, settings: Settings, asks: Principal, job_id: str) -> Job:
    """Queues a failed or cancelled job again; it goes on from its checkpoint if it has one."""
    job = _owned(session, asks, job_id)
    if job.state in (State.failed, State.cancelled):
        needed = session.exec(select(Job).join(Need, col(Need.needs) == col(Job.id)).where(Need.job_id == job_id))
        ends = {other.id: State(other.state) for other in needed}
        dead = [other for other, state in ends.items() if state in (State.failed, State.cancelled)]
        if dead:
            raise Conflict(f"it needs components of {', '.join(dead)}, which did not succeed: retry that first")
        waits = any(state is not State.succeeded for state in ends.values())
        to = State.waiting if waits else State.queued
        if move(session, job_id, to, origin=State(job.state), failures=0):
            nudge(session, settings, "start")
            session.refresh(job)
            return job
    raise _refused(job, "retry", "only a failed or cancelled one can be retried")


def _change(
    session: Session,
    settings: Settings,
    asks: Principal,
    job_id: str,
    verb: str,
    targets: tuple[State, ...],
    origin: State | None = None,
) -> Job:
    job = _owned(session, asks, job_id)
    before = State(job.state)
    for to in targets:
        fits = to in MOVES[before] and (origin is None or origin is before)
        if fits and move(session, job_id, to, origin=before, reason=Reason.user):
            nudge(session, settings, "start" if to is State.queued else "tend")
            session.refresh(job)
            return job
    able = [state.value for state in MOVES if any(to in MOVES[state] for to in targets) and origin in (None, state)]
    raise _refused(job, verb, f"it can be done while a job is {' or '.join(able)}")


def _owned(session: Session, asks: Principal, job_id: str) -> Job:
    job = queries.get_job(session, job_id)
    may_change(asks, job.owner)
    return job


def _refused(job: Job, verb: str, able: str) -> Conflict:
    return Conflict(f"{job.id} is {State(job.state).value}, so it cannot {verb}: {able}")


def remove(session: Session, settings: Settings, asks: Principal, job_id: str) -> int:
    """Deletes a job that has ended, with all its files; gives the bytes."""
    job = _owned(session, asks, job_id)
    if job.state not in FINAL:
        raise _refused(job, "be deleted", "cancel it first")
    users = [other.id for other in queries.needed_by(session, job_id) if other.state not in FINAL]
    if users:
        raise Conflict(f"{', '.join(users[:5])} still need its components: delete it after they have ended")
    owned = select(Series.id).where(Series.job_id == job_id)
    for table in (Points, Chunk):
        session.execute(delete(table).where(col(table.series_id).in_(owned)))
    session.execute(delete(Need).where(col(Need.needs) == job_id))
    session.delete(job)
    folder = settings.runs_dir / job_id
    size = bytes_in(folder)
    after_commit(session, lambda: shutil.rmtree(folder, ignore_errors=True))
    return size


def bytes_in(folder: Path) -> int:
    """The bytes of all files below a folder, each file counted once however many names it has."""
    sizes: dict[int, int] = {}
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
        except OSError:
            continue
        if not path.is_dir():
            sizes[status.st_ino] = status.st_size
    return sum(sizes.values())


def read_body(body: bytes) -> object:
    """JSON as a request sent it; raises InvalidSpec for what is none, NaN and Infinity included."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON number")

    try:
        return json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        message = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidSpec(f"the body is not JSON: {message[:200]}") from None
