"""One job's way: claimed, started, tended while it trains, and ended as it really ended."""

from __future__ import annotations

import errno
import logging
import time
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from app.db import now, reading, transaction
from app.jobs.states import FINAL, Reason, State, move
from app.models import Attempt, Component, Job, Lease, Need
from worker.ingest import ingest, prune
from worker.machine import EXECUTORS, Machine
from worker.rundir import RunDir, log_tail, read

log = logging.getLogger(__name__)
# A process that has not said who it is after this long never will.
START_LIMIT_S = 10.0
CANCEL_GRACE_S = 5.0


def start_next(machine: Machine) -> bool:
    """Starts the queued job whose turn it is, if this machine has devices for it; says whether it did."""
    with transaction(machine.engine) as session:
        claimed = _claim(session, machine)
        if claimed is None:
            return False
        job, attempt = claimed
        task = _task(session, machine, job, attempt)
        number, devices = attempt.number, list(attempt.devices)
        job_id = job.id
        session.expunge(attempt)
    run = machine.run(job_id, number)
    try:
        run.write(run.task, task)
        handle = EXECUTORS["local"].submit(run, devices)
    except OSError as error:
        end(machine, attempt, _not_started(error))
        return True
    with transaction(machine.engine) as session:
        _update(session, job_id, number, handle=handle)
    return True


def _not_started(error: OSError) -> dict[str, Any]:
    """A process that could not be started at all: the same would happen again."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    said = "there is no space left for its files" if full else "its process could not be started"
    reason = Reason.no_space if full else Reason.code_error
    return {"outcome": "failed", "reason": reason, "message": f"{said}: {error}"}


def _claim(session: Session, machine: Machine) -> tuple[Job, Attempt] | None:
    held = set(session.exec(select(Lease.device).where(Lease.host == machine.host)))
    free = [device for device in machine.devices if device not in held]
    order = (col(Job.priority).desc(), col(Job.id))
    job = session.exec(select(Job).where(Job.state == State.queued).order_by(*order).limit(1)).first() if free else None
    if job is None:
        return None
    wanted = max(1, job.spec["resources"]["gpus"] or 1)
    if wanted > len(machine.devices):
        message = f"it asks for {wanted} GPUs, this machine has {', '.join(machine.devices)}: change resources.gpus"
        move(session, job.id, State.failed, reason=Reason.code_error, message=message)
        return None
    number = job.attempt + 1
    started = job.started_at or now()
    if len(free) < wanted or not move(
        session, job.id, State.starting, origin=State.queued, of_attempt=job.attempt, attempt=number, started_at=started
    ):
        return None
    attempt = Attempt(
        job_id=job.id, number=number, executor="local", host=machine.host, devices=free[:wanted], started_at=now()
    )
    session.add(attempt)
    session.add_all(
        Lease(host=machine.host, device=device, job_id=job.id, attempt=number) for device in attempt.devices
    )
    session.flush()
    return job, attempt


def _task(session: Session, machine: Machine, job: Job, attempt: Attempt) -> dict[str, Any]:
    spec = _with_files(session, machine, job.spec)
    return {
        "job": job.id,
        "attempt": attempt.number,
        "spec": spec,
        "data_roots": [str(root) for root in machine.settings.roots],
        "device": "cpu" if attempt.devices[0].startswith("cpu") else None,
    }


def _with_files(session: Session, machine: Machine, value: Any) -> Any:
    """A specification with components named by their files, which is all that a training process knows of."""
    if isinstance(value, list):
        return [_with_files(session, machine, item) for item in value]
    if not isinstance(value, dict):
        return value
    replaced = {key: _with_files(session, machine, item) for key, item in value.items()}
    ref = replaced.get("from")
    if isinstance(ref, dict) and ref.get("component"):
        query = select(Component).where(Component.id == ref["component"])
        if ref.get("job"):
            query = select(Component).where(Component.job_id == ref["job"], Component.name == ref["component"])
        found = session.exec(query).first()
        folder = machine.settings.runs_dir / (found.job_id if found else ref["job"]) / "components"
        place = found.files["pth"]["place"] if found else "missing"
        replaced["from"] = {"path": str(folder / place)}
    return replaced


def tend(machine: Machine, attempt: Attempt) -> None:
    """Takes what an attempt has reported, passes on what is wished of it, and ends it when its process has ended."""
    run = machine.run(attempt.job_id, attempt.number)
    executor = EXECUTORS[attempt.executor]
    handle = attempt.handle
    claim = read(run.claim)
    if claim is not None and (handle is None or handle["pid"] != claim["pid"]):
        handle = {"pid": claim["pid"], "started": claim["started"]}
        with transaction(machine.engine) as session:
            _update(session, attempt.job_id, attempt.number, handle=handle)
    if handle is None and not _given_up(run, attempt):
        return
    # First whether it lives, then what it said: it cannot say more after that.
    alive = handle is not None and executor.alive(handle)
    while ingest(machine.engine, attempt, run.events):
        with transaction(machine.engine) as session:
            again = session.get(Attempt, (attempt.job_id, attempt.number))
            if again is None:
                return
            session.expunge(again)
            attempt = again
    if alive:
        assert handle is not None
        _pass_on(machine, attempt, handle)
        return
    outcome = read(run.outcome) or {"outcome": "lost"}
    if outcome["outcome"] == "succeeded" and read(run.result) is None:
        outcome = {"outcome": "failed", "reason": "code_error", "message": "it ended without a result"}
    if outcome["outcome"] in ("failed", "lost"):
        outcome["log"] = log_tail(run.log)
    _wishes.pop((attempt.job_id, attempt.number), None)
    end(machine, attempt, outcome)


def _given_up(run: RunDir, attempt: Attempt) -> bool:
    """Whether an attempt of which nobody knows a process is given up: the worker may have died while starting it."""
    if (now() - attempt.started_at).total_seconds() < START_LIMIT_S:
        return False
    # With its claim taken, a process that was started all the same, and comes late, goes away again.
    run.attempt_dir.mkdir(parents=True, exist_ok=True)
    return run.take({"pid": 0, "started": 0.0})


# When each wish was passed on, and when the process is killed for not following it.
_wishes: dict[tuple[str, int], tuple[State, float]] = {}


def _pass_on(machine: Machine, attempt: Attempt, handle: dict[str, Any]) -> None:
    with reading(machine.engine) as session:
        found = session.exec(select(Job.state).where(Job.id == attempt.job_id)).first()
    executor = EXECUTORS[attempt.executor]
    if found not in (State.pausing, State.cancelling):
        return
    state = State(found)
    key = (attempt.job_id, attempt.number)
    wish, deadline = _wishes.get(key, (None, 0.0))
    if wish is not state:
        grace_s = CANCEL_GRACE_S if state == State.cancelling else machine.settings.grace_s
        _wishes[key] = (state, time.monotonic() + grace_s)
        executor.stop(handle)
    elif time.monotonic() > deadline:
        executor.kill(handle)


def end(machine: Machine, attempt: Attempt, outcome: dict[str, Any]) -> None:
    """Ends an attempt and moves its job by what happened and what was wished."""
    said = outcome["outcome"]
    reason = Reason(outcome["reason"]) if outcome.get("reason") else None
    message = outcome.get("message")
    with transaction(machine.engine) as session:
        job = session.get(Job, attempt.job_id)
        if job is None:
            return
        at: dict[str, Any] = {"of_attempt": attempt.number}
        if said == "succeeded":
            moved = _finish(session, job, State.succeeded, **at)
        elif said == "failed" and job.state != State.cancelling:
            moved = _finish(session, job, State.failed, reason=reason, message=_with_log(message, outcome), **at)
        elif job.state == State.cancelling:
            moved = move(session, job.id, State.cancelled, reason=Reason.user, **at)
        elif job.state == State.pausing:
            moved = move(session, job.id, State.paused, reason=Reason.user, **at)
        elif said == "stopped":
            reason, message = Reason.preempted, "the process was told to stop; it goes on from its checkpoint"
            moved = move(session, job.id, State.queued, reason=reason, message=message, **at)
        else:
            reason = Reason.lost
            moved = _lost(session, job, outcome, **at)
        if moved:
            # Failure travels to those that wait for its components; success queues those that wait for no other.
            settle_waiting(session, [job.id])
        _update(session, attempt.job_id, attempt.number, ended_at=now(), outcome=said, reason=reason, message=message)
        held = (col(Lease.job_id) == attempt.job_id, col(Lease.attempt) == attempt.number)
        session.execute(delete(Lease).where(*held))
        prune(session, attempt.job_id)


def _finish(session: Session, job: Job, to: State, **values: Any) -> bool:
    """To a final state, by way of running where the first report and the end came together."""
    if job.state == State.starting and to is State.succeeded:
        move(session, job.id, State.running, of_attempt=values["of_attempt"])
    return move(session, job.id, to, **values)


def _lost(session: Session, job: Job, outcome: dict[str, Any], *, of_attempt: int) -> bool:
    """The process is gone without a word: the job starts again, unless that has happened too often."""
    failures = job.failures + 1
    message = "the process ended without a word; it was killed or its machine failed"
    if failures < job.spec["max_attempts"]:
        again = f"{message}: it goes on from its newest checkpoint"
        values: dict[str, Any] = {"reason": Reason.lost, "message": again, "failures": failures}
        return move(session, job.id, State.queued, of_attempt=of_attempt, **values)
    often = _with_log(f"{message}, {failures} times: see the log, then retry", outcome)
    return move(session, job.id, State.failed, of_attempt=of_attempt, reason=Reason.lost, message=often)


def _with_log(message: str | None, outcome: dict[str, Any]) -> str:
    tail = "\n".join(outcome.get("log", "").splitlines()[-5:])
    return f"{message or 'it failed'}" + (f"\n{tail}" if tail and outcome.get("reason") in (None, "code_error") else "")


def ready_to_settle() -> SelectOfScalar[Job]:
    """The waiting jobs that wait no longer: nothing they need is still to come, or something never will."""
    other = aliased(Job)
    needs = select(Need.job_id).join(other, col(other.id) == col(Need.needs))
    to_come = needs.where(col(other.state).not_in(FINAL))
    never = needs.where(col(other.state).in_((State.failed, State.cancelled)))
    return select(Job).where(Job.state == State.waiting, col(Job.id).in_(never) | col(Job.id).not_in(to_come))


def settle_waiting(session: Session, needed: list[str] | None = None) -> int:
    """Moves waiting jobs whose needed jobs have ended; gives how many were moved."""
    session.flush()
    query = ready_to_settle()
    if needed is not None:
        query = query.where(col(Job.id).in_(select(Need.job_id).where(col(Need.needs).in_(needed))))
    moved = 0
    for job in session.exec(query).all():
        others = session.exec(select(Job).join(Need, col(Need.needs) == col(Job.id)).where(Need.job_id == job.id)).all()
        for other in others:
            session.refresh(other)
        dead = [other.id for other in others if other.state in (State.failed, State.cancelled)]
        if dead:
            message = f"{dead[0]}, whose components it needs, did not succeed: retry that, then this"
            moved += move(session, job.id, State.failed, reason=Reason.dependency_failed, message=message)
            moved += settle_waiting(session, [job.id])
        elif all(other.state == State.succeeded for other in others):
            moved += move(session, job.id, State.queued)
    return moved


def _update(session: Session, job_id: str, number: int, **values: Any) -> None:
    where = (col(Attempt.job_id) == job_id, col(Attempt.number) == number)
    session.execute(update(Attempt).where(*where).values(**values))
