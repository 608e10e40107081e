"""What must hold once faults are over: compares the answers that clients got, the database and the run directories."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from app.db import reading
from app.jobs.transitions import EDGES
from app.models import TERMINAL_STATES, Attempt, Chunk, ChunkData, Component, Event, Job, Lease, Reason, Series, State
from core.run.rundir import RunDir
from tests.faults.client import Answer, Record
from tests.faults.workload import FAILURES, Result, result_of

FIRST_STATES = (State.waiting, State.queued)
# The service gives up on its database after 12 s, and on a new connection after 3 s.
WAIT_LIMIT_S = 25.0
# Refusals that a client may get: the job is in another state, or is not there yet where a proxy would say so.
EXPECTED_STATUSES = (0, 200, 201, 202, 409, 503)


@dataclass(frozen=True)
class Evidence:
    """What a check reads: the database from one event id on, the run directories, and what clients saw."""

    engine: Engine
    runs_dir: Path
    record: Record
    undisturbed: Mapping[str, Result]
    # The state events that a follower of the stream received, in order; None if nobody followed.
    followed: Sequence[int] | None = None
    after: int = 0
    # Whether the clocks of machines agree, so that times of different attempts can be compared.
    clocks_agree: bool = True
    # Whether nothing was done to training processes or their machines, so that no attempt may have been lost.
    spares_training: bool = False


def violations(evidence: Evidence) -> list[str]:
    """Everything that is wrong, each as one sentence; empty if all promises were kept."""
    found = [*_answers(evidence.record)]
    with reading(evidence.engine) as session:
        found += _acknowledged(session, evidence.record)
        found += _leases(session)
        found += _events(session, evidence)
        for job_id in sorted(_jobs_of(session, evidence.record)):
            job = session.get(Job, job_id)
            assert job is not None
            for check in (_state, _path, _attempts, _series, _components):
                found += [f"job {job_id}: {problem}" for problem in check(session, job, evidence)]
    return found


def _jobs_of(session: Session, record: Record) -> set[str]:
    return set(session.exec(select(Job.id).where(col(Job.idempotency_key).in_(list(record.keys)))))


def _answers(record: Record) -> Iterator[str]:
    """No request waits for long, is answered with an error of the service itself, or refused for no reason."""
    for answer in record.answers:
        if answer.status not in EXPECTED_STATUSES:
            yield f"{answer.method} {answer.path} was answered with {answer.status}: {answer.text}"
        if answer.waited_s > WAIT_LIMIT_S:
            yield f"{answer.method} {answer.path} waited {answer.waited_s:.0f} s for {answer.status or 'nothing'}"


def _acknowledged(session: Session, record: Record) -> Iterator[str]:
    """Nothing that was acknowledged is lost, and no key created two jobs."""
    for key, ids in record.created().items():
        if len(ids) > 1:
            yield f"the idempotency key {key} was answered with {len(ids)} jobs: {', '.join(sorted(ids))}"
        for job_id in ids:
            if session.get(Job, job_id) is None:
                yield f"job {job_id} was acknowledged for the key {key} and is lost"
    for key in record.keys:
        stored = session.exec(select(Job.id).where(Job.idempotency_key == key)).all()
        if len(stored) > 1:
            yield f"the idempotency key {key} created {len(stored)} jobs: {', '.join(stored)}"
        if not stored:
            yield f"no request with the key {key} was ever acknowledged"
    for answer in record.answers:
        if answer.status == 202 and answer.job is not None and not _has_state(session, answer):
            yield f"{answer.path} was acknowledged as {answer.job['state']}, which no event of the job records"


def _has_state(session: Session, answer: Answer) -> bool:
    assert answer.job is not None
    return answer.job["state"] in _states(session, answer.job["id"])


def _states(session: Session, job_id: str) -> list[str]:
    events = select(Event).where(Event.job_id == job_id, Event.type == "state").order_by(col(Event.id))
    return [event.data["state"] for event in session.exec(events)]


def _leases(session: Session) -> Iterator[str]:
    for lease in session.exec(select(Lease)):
        yield f"{lease.device} on {lease.host} is still held by attempt {lease.attempt} of job {lease.job_id}"


def _events(session: Session, evidence: Evidence) -> Iterator[str]:
    """A reader of the stream gets every event once, with rising ids."""
    if evidence.followed is None:
        return
    received = [event_id for event_id in evidence.followed if event_id > evidence.after]
    for before, following in itertools.pairwise(received):
        if following <= before:
            yield f"the event stream sent event {following} after event {before}"
    query = select(Event.id).where(Event.type == "state", col(Event.id) > evidence.after)
    missed = sorted(set(session.exec(query)) - set(received))  # type: ignore[type-var]
    if missed:
        yield f"the event stream left out {len(missed)} state events, the first with id {missed[0]}"


def _state(session: Session, job: Job, evidence: Evidence) -> Iterator[str]:
    """It has ended, and as its specification and its user wanted."""
    if job.state not in TERMINAL_STATES:
        yield f"is still {job.state}: {job.message}"
        return
    name = evidence.record.keys[job.idempotency_key or ""]
    if job.state == State.failed and job.reason != FAILURES.get(name):
        yield f"failed ({job.reason}): {job.message}"
    if job.state == State.succeeded and name in FAILURES:
        yield f"succeeded, although it must fail with {FAILURES[name]}"
    cancels = [answer.job for answer in evidence.record.answers if answer.status == 202 and answer.job]
    acknowledged = {shown["state"] for shown in cancels if shown["id"] == job.id}
    if "cancelled" in acknowledged and job.state != State.cancelled:
        yield f"is {job.state}, although its cancellation was acknowledged as complete"
    if job.state == State.cancelled and not acknowledged & {"cancelled", "cancelling"} and not _unanswered(evidence):
        yield "was cancelled, although nobody asked for it"


def _unanswered(evidence: Evidence) -> bool:
    """Whether some cancellation got no answer: it may have been carried out."""
    return any(answer.path.endswith("/cancel") and answer.status == 0 for answer in evidence.record.answers)


def _path(session: Session, job: Job, _evidence: Evidence) -> Iterator[str]:
    """Its states follow the edges of the state graph."""
    states = _states(session, job.id)
    if not states or states[0] not in FIRST_STATES:
        yield f"begins with the states {states[:2]}"
    for source, target in itertools.pairwise(states):
        if (State(source), State(target)) not in EDGES:
            yield f"went from {source} to {target}, which is not allowed"
    if states and states[-1] != job.state:
        yield f"is {job.state}, but its last event says {states[-1]}"


def _attempts(session: Session, job: Job, evidence: Evidence) -> Iterator[str]:
    """One attempt is in effect at a time, and the result is that of the last one."""
    attempts = session.exec(select(Attempt).where(Attempt.job_id == job.id).order_by(col(Attempt.number))).all()
    numbers = [attempt.number for attempt in attempts]
    if numbers != list(range(1, job.attempt + 1)):
        yield f"has the attempts {numbers}, and its latest is {job.attempt}"
    for attempt in attempts:
        # Not the outcome: a process that is cancelled and takes long is killed, and then reports none.
        if attempt.reason == Reason.lost and evidence.spares_training:
            yield f"its attempt {attempt.number} was lost, although nothing was done to its process"
        if attempt.ended_at is None and job.state in TERMINAL_STATES:
            yield f"has ended, but its attempt {attempt.number} has not"
    for before, following in itertools.pairwise(attempts):
        if evidence.clocks_agree and (before.ended_at is None or before.ended_at > following.started_at):
            yield f"its attempt {following.number} started before attempt {before.number} had ended"
        if before.outcome == "succeeded":
            yield f"its attempt {before.number} succeeded, and attempt {following.number} ran all the same"
    if job.state == State.succeeded and (not attempts or attempts[-1].outcome != "succeeded"):
        yield "succeeded without an attempt that did"
    if job.state == State.succeeded and not RunDir(evidence.runs_dir / job.id).result.exists():
        yield "succeeded and has no result"


def _series(session: Session, job: Job, evidence: Evidence) -> Iterator[str]:
    """No step counts twice, and a job that succeeded has the result of an undisturbed one."""
    for series in session.exec(select(Series).where(Series.job_id == job.id).order_by(Series.key)):
        steps = _steps(session, series)
        if (np.diff(steps) <= 0).any():
            twice = int(steps[1:][np.diff(steps) <= 0][0])
            yield f"{series.key} has step {twice} twice, or out of order"
        if len(steps) != series.count:
            yield f"{series.key} counts {series.count} points and has {len(steps)}"
    name = evidence.record.keys[job.idempotency_key or ""]
    expected = evidence.undisturbed.get(name)
    if job.state != State.succeeded or expected is None:
        return
    result = result_of(evidence.engine, job.id)
    for part, got, wanted in (
        ("the steps of", result.steps, expected.steps),
        ("the measured values", result.measured, expected.measured),
        ("the bits of", result.digests, expected.digests),
    ):
        yield from _differences(part, got, wanted)


def _differences(part: str, got: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(got.keys() | wanted.keys()):
        if got.get(key) != wanted.get(key):
            yield f"{part} {key} are {_short(got.get(key))}, not {_short(wanted.get(key))} as in an undisturbed run"


def _short(value: Any) -> str:
    return f"{len(value)} steps up to {value[-1]}" if isinstance(value, tuple) and value else str(value)


def _steps(session: Session, series: Series) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The steps of a series; of its chunks, those that its summary knows."""
    numbers = session.exec(select(Chunk.number).where(Chunk.series_id == series.id)).all()
    query = select(ChunkData.steps).where(ChunkData.series_id == series.id, col(ChunkData.number).in_(numbers))
    blocks = session.exec(query.order_by(col(ChunkData.number))).all()
    return np.frombuffer(b"".join(blocks), "<i8")


def _components(session: Session, job: Job, evidence: Evidence) -> Iterator[str]:
    """Every component's files are those that it names."""
    folder = RunDir(evidence.runs_dir / job.id).components
    for component in session.exec(select(Component).where(Component.job_id == job.id)):
        for suffix, entry in component.files.items():
            file = folder / entry["place"]
            if not file.exists():
                yield f"the file {file.name} of {component.name} is missing"
            elif hashlib.sha256(file.read_bytes()).hexdigest() != entry["sha256"]:
                yield f"the {suffix} file of {component.name} is not the one that was written"
