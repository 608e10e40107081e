"""What can be done to jobs. Nothing here commits: the session's owner does."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import delete, insert, update
from sqlmodel import Session, SQLModel, col, select
from ulid import ULID

from app.auth.principals import Principal, require_owner
from app.db import after_commit, serialize_events
from app.http import idempotency
from app.http.errors import Conflict, InvalidSpec
from app.jobs import queries, references
from app.jobs.changes import with_resources
from app.jobs.digest import digest
from app.jobs.dispatch import nudge
from app.jobs.references import References
from app.jobs.schemas import view
from app.jobs.transitions import TRANSITIONS, transition
from app.models import TERMINAL_STATES, Chunk, ChunkData, Dependency, Event, Job, Reason, Series, State, Tag
from app.settings import Settings
from core.spec import JobSpec, SpecError, defaulted, parse_spec, resolve


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
    before = idempotency.find_created(session, Job, asks.owner, key, body)
    if before is not None:
        return queries.views(session, [before])[0], False
    needs = references.check(session, spec)
    made = draft(spec, needs, columns(spec) | {"owner": asks.owner} | idempotency.columns(key, body))
    store(session, [made])
    if made.job.state == State.queued:
        nudge(session, settings, "start")
    return view(made.job, made.tags, sorted(needs.unfinished), {}), True


class Draft(NamedTuple):
    """A job that is not stored yet."""

    job: Job
    tags: list[str]
    needs: References


def columns(spec: JobSpec) -> dict[str, Any]:
    """What a job's row holds of its specification alone."""
    its = {"kind": spec.kind, "name": spec.name, "priority": spec.priority, **_resolved(spec)}
    its["executor"] = spec.resources.executor
    return its | {"digest": digest(its["spec"])}


def draft(spec: JobSpec, needs: References, values: dict[str, Any]) -> Draft:
    """A new job: `values` are its `columns`, its owner and what else is to be in its row."""
    state = State.waiting if needs.unfinished else State.queued
    job = Job(**{"id": f"job_{ULID()}"} | values, state=state)
    return Draft(job, sorted(set(spec.tags)), needs)


def store(session: Session, drafts: Sequence[Draft]) -> None:
    """Stores jobs with their tags, what they need and their first events; who calls this nudges the workers."""
    tags = [{"job_id": made.job.id, "tag": tag} for made in drafts for tag in made.tags]
    needs = [{"job_id": made.job.id, "depends_on": needed} for made in drafts for needed in made.needs.jobs]
    rows = [made.job.model_dump() for made in drafts]
    said = [{"state": row["state"].value, "reason": None, "message": None} for row in rows]
    events = [
        {"job_id": row["id"], "time": row["created_at"], "type": "state", "data": data}
        for row, data in zip(rows, said, strict=True)
    ]
    # Plain inserts: what the unit of work would add to them is what submitting would spend most of its time on.
    serialize_events(session)
    connection = session.connection()
    for table, inserted in ((Job, rows), (Tag, tags), (Dependency, needs), (Event, events)):
        if inserted:
            connection.execute(_INSERT[table], inserted)


_INSERT = {table: insert(SQLModel.metadata.tables[str(table.__tablename__)]) for table in (Job, Tag, Dependency, Event)}


def _resolved(spec: JobSpec) -> dict[str, Any]:
    return {"spec": resolve(spec).model_dump(mode="json", by_alias=True), "defaulted": defaulted(spec)}


def cancel(session: Session, settings: Settings, asks: Principal, job_id: str) -> Job:
    """Ends a job; one that trains is stopped first."""
    return _change(session, settings, asks, job_id, "cancel", (State.cancelled, State.cancelling))


def pause(session: Session, settings: Settings, asks: Principal, job_id: str) -> Job:
    """Has a job write a checkpoint and free its device."""
    return _change(session, settings, asks, job_id, "pause", (State.pausing,))


def resume(
    session: Session, settings: Settings, asks: Principal, job_id: str, resources: dict[str, Any] | None = None
) -> Job:
    """Queues a paused job again, with other resources if some are given; it goes on from its checkpoint.

    One that is queued already may be given others too.
    """
    job = _owned(session, asks, job_id)
    values = with_resources(session, settings, job, resources) if resources else {}
    if job.state == State.queued and values:
        still = (col(Job.id) == job_id, col(Job.state) == State.queued, col(Job.attempt) == job.attempt)
        done = session.execute(update(Job).where(*still).values(**values)).rowcount == 1  # type: ignore[attr-defined]
    else:
        done = transition(session, job_id, State.queued, from_state=State.paused, reason=Reason.user, **values)
    if not done:
        raise _refused(job, "be resumed", "only a job that is paused can, or one that is queued if resources are given")
    nudge(session, settings, "start")
    session.refresh(job)
    return job


def retry(
    session: Session, settings: Settings, asks: Principal, job_id: str, resources: dict[str, Any] | None = None
) -> Job:
    """Queues a failed or cancelled job again; it goes on from its checkpoint if it has one."""
    job = _owned(session, asks, job_id)
    values = with_resources(session, settings, job, resources) if resources else {}
    if not queue_again(session, job, **values):
        raise _refused(job, "be tried again", "only a job that is failed or cancelled can")
    nudge(session, settings, "start")
    session.refresh(job)
    return job


def queue_again(session: Session, job: Job, **values: Any) -> bool:
    """Moves a failed or cancelled job back into the queue; raises Conflict if what it needs is not to be had."""
    if job.state not in (State.failed, State.cancelled):
        return False
    needed = (
        select(Job.id, Job.state)
        .join(Dependency, col(Dependency.depends_on) == col(Job.id))
        .where(Dependency.job_id == job.id)
    )
    ends = {other: State(its) for other, its in session.exec(needed)}
    dead = [other for other, its in ends.items() if its in (State.failed, State.cancelled)]
    if dead:
        raise Conflict(f"{job.id} needs components of {', '.join(dead)}, which did not succeed: retry that first")
    try:
        # Its needed jobs may have been deleted, and their components with them.
        references.check(session, parse_spec(values.get("spec", job.spec)))
    except (InvalidSpec, SpecError) as error:
        raise Conflict(f"{job.id} cannot be tried again as it is: {error}") from None
    waits = any(its is not State.succeeded for its in ends.values())
    to = State.waiting if waits else State.queued
    return transition(session, job.id, to, from_state=State(job.state), failures=0, **values)


def _change(
    session: Session,
    settings: Settings,
    asks: Principal,
    job_id: str,
    verb: str,
    targets: tuple[State, ...],
    from_state: State | None = None,
) -> Job:
    job = _owned(session, asks, job_id)
    before = State(job.state)
    for to in targets:
        fits = to in TRANSITIONS[before] and (from_state is None or from_state is before)
        if fits and transition(session, job_id, to, from_state=before, reason=Reason.user):
            nudge(session, settings, "start" if to is State.queued else "monitor")
            session.refresh(job)
            return job
    able = [
        state.value
        for state in TRANSITIONS
        if any(to in TRANSITIONS[state] for to in targets) and from_state in (None, state)
    ]
    raise _refused(job, f"be {_DONE[verb]}", f"only a job that is {_or(able)} can")


_DONE = {"cancel": "cancelled", "pause": "paused"}


def _or(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _owned(session: Session, asks: Principal, job_id: str) -> Job:
    job = queries.get_job(session, job_id)
    require_owner(asks, job.owner)
    return job


def _refused(job: Job, verb: str, able: str) -> Conflict:
    return Conflict(f"{job.id} is {State(job.state).value}, so it cannot {verb}: {able}")


def remove(session: Session, settings: Settings, asks: Principal, job_id: str) -> int:
    """Deletes a job that has ended, with all its files; gives the bytes."""
    job = _owned(session, asks, job_id)
    if job.state not in TERMINAL_STATES:
        raise _refused(job, "be deleted", "cancel it first")
    users = [other.id for other in queries.needed_by(session, job_id) if other.state not in TERMINAL_STATES]
    if users:
        raise Conflict(f"{', '.join(users[:5])} still need its components: delete it after they have ended")
    owned = select(Series.id).where(Series.job_id == job_id)
    for table in (ChunkData, Chunk):
        session.execute(delete(table).where(col(table.series_id).in_(owned)))
    session.execute(delete(Dependency).where(col(Dependency.depends_on) == job_id))
    session.delete(job)
    folder = settings.runs_dir / job_id
    folders = [folder, *settings.slurm_dir.glob(f"{job_id}-a*")]
    size = sum(bytes_in(folder) for folder in folders)
    for folder in folders:
        after_commit(session, partial(shutil.rmtree, folder, ignore_errors=True))
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
