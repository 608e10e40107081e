"""From queued to started: claims that no other worker can make as well, and tasks that need nothing but their files."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar
from ulid import ULID

from app.db import now, transaction
from app.jobs.transitions import transition
from app.models import WORKER_TIMEOUT, Attempt, Component, Job, Lease, Reason, State, Sweep, Worker
from worker.attempts import end, not_started, update_attempt
from worker.context import WorkerContext
from worker.early_stopping import sweeps_at_limit
from worker.executors.base import Handle, LaterError, Observation, ProcessState, RefusedError, Submission
from worker.executors.capacity import Size, devices_of, fits, shortfall

# The time between Slurm's signal and the end: this much before a checkpoint was ever measured, and at least this much.
FIRST_LEAD_S = 60
LEAST_LEAD_S = 15
# How long a queue that was full is left alone.
LATER_S = 30.0


@dataclass
class Claimed:
    """Jobs that are this worker's to start, all alike, and what is to be done."""

    attempts: list[Attempt]
    tasks: list[dict[str, Any]]
    order: Submission


def start_next(context: WorkerContext, executor: str) -> bool:
    """Starts what is next for an executor, if there is anything and room for it; says whether it did."""
    with transaction(context.engine) as session:
        claimed = _claim_local(session, context) if executor == "local" else _claim_slurm(session, context)
        if claimed is None:
            return False
        session.flush()
        for attempt in claimed.attempts:
            session.refresh(attempt)
            session.expunge(attempt)
    order = claimed.order
    try:
        for run, task in zip(order.runs, claimed.tasks, strict=True):
            run.write(run.task, task)
        handles = context.executors[executor].submit(order)
    except OSError as error:
        _give_back(context, claimed, not_started(error), Observation(ProcessState.ended))
    except RefusedError as error:
        _give_back(
            context,
            claimed,
            {"outcome": "failed", "reason": "code_error", "message": str(error)},
            Observation(ProcessState.ended),
        )
    except LaterError as error:
        assert context.slurm is not None
        context.slurm.full_until = time.monotonic() + LATER_S
        _give_back(
            context, claimed, {"outcome": "lost"}, Observation(ProcessState.ended, says=f"{error}", blameless=True)
        )
    else:
        _keep(context, claimed.attempts, handles)
    return True


def _give_back(context: WorkerContext, claimed: Claimed, outcome: dict[str, Any], seen: Observation) -> None:
    for attempt in claimed.attempts:
        end(context, attempt, dict(outcome), seen)


def _keep(context: WorkerContext, attempts: Sequence[Attempt], handles: Sequence[Handle | None]) -> None:
    with transaction(context.engine) as session:
        for attempt, handle in zip(attempts, handles, strict=True):
            if handle is not None:
                key = (attempt.job_id, attempt.number)
                update_attempt(session, key, handle=handle, slurm_job_id=handle.get("slurm"))


def _queued(session: Session, executor: str) -> SelectOfScalar[Job]:
    """The queued jobs of an executor in their order, but those of sweeps of which enough run."""
    query = select(Job).where(Job.state == State.queued, Job.executor == executor)
    busy = sweeps_at_limit(session)
    if busy:
        query = query.where(col(Job.sweep).is_(None) | col(Job.sweep).not_in(busy))
    return query.order_by(col(Job.priority).desc(), col(Job.id))


def _claim_local(session: Session, context: WorkerContext) -> Claimed | None:
    """The first job in the queue that this machine can train, once enough of its devices are free."""
    held = set(session.exec(select(Lease.device).where(Lease.host == context.host)))
    free = [device for device in context.devices if device not in held]
    if not free:
        return None
    for job in session.exec(_queued(session, "local").execution_options(yield_per=20)):
        asked = job.spec["resources"]
        if fits(asked, context.size):
            wanted = devices_of(asked)
            return _claim_here(session, context, job, free[:wanted]) if wanted <= len(free) else None
        others = _others(session, context)
        if not any(fits(asked, size) for size in others):
            message = shortfall(asked, [context.size, *others])
            transition(session, job.id, State.failed, reason=Reason.code_error, message=message)
            return None
    return None


def _others(session: Session, context: WorkerContext) -> list[Size]:
    """The sizes of the other machines that are there."""
    there = select(Worker).where(Worker.host != context.host, col(Worker.seen_at) > now() - WORKER_TIMEOUT)
    return [Size(worker.devices, worker.cpus, worker.memory_gb) for worker in session.exec(there)]


def _claim_here(session: Session, context: WorkerContext, job: Job, devices: list[str]) -> Claimed | None:
    attempt = _new_attempt(session, job, executor="local", host=context.host, devices=devices)
    if attempt is None:
        return None
    session.add_all(
        Lease(host=context.host, device=device, job_id=job.id, attempt=attempt.number) for device in devices
    )
    on_cpu = devices[0].startswith("cpu") or job.spec["resources"]["gpus"] == 0
    task = _task(_Files(session, context), job, attempt, device="cpu" if on_cpu else None)
    order = Submission([context.run(job.id, attempt.number)], "", job.spec["resources"], devices=devices)
    return Claimed([attempt], [task | {"processes": len(devices)}], order)


def _claim_slurm(session: Session, context: WorkerContext) -> Claimed | None:
    """The job whose turn it is; one of a sweep with all others of it that ask for the same, as one array."""
    if context.slurm is None or not context.slurm.known or time.monotonic() < context.slurm.full_until:
        return None
    query = _queued(session, "slurm")
    first = session.exec(query.limit(1)).first()
    if first is None:
        return None
    jobs, at_once, slurm_job_name = [first], None, f"{first.id}-a{first.attempt + 1}"
    shape = _shapes(session, context, jobs)[0]
    if first.sweep is not None:
        sweep = session.get(Sweep, first.sweep)
        most = context.slurm.max_array_size
        if sweep is not None and sweep.max_parallel is not None:
            live = session.exec(_live(first.sweep)).all()
            # An array keeps to its own limit; what is submitted beside one must leave room for it.
            at_once = sweep.max_parallel
            most = most if not live else min(most, sweep.max_parallel - len(live))
        alike = session.exec(query.where(Job.sweep == first.sweep).limit(max(1, most))).all()
        shapes = _shapes(session, context, alike)
        jobs = [job for job, its in zip(alike, shapes, strict=True) if its == shape]
        if len(jobs) > 1:
            slurm_job_name = f"{first.sweep}.{ULID()}"
    attempts: list[Attempt] = []
    for job in jobs:
        index = len(attempts) if len(jobs) > 1 else None
        attempt = _new_attempt(
            session, job, executor="slurm", host="", devices=[], slurm_job_name=slurm_job_name, array_index=index
        )
        if attempt is not None:
            attempts.append(attempt)
    if not attempts:
        return None
    jobs = [job for job in jobs if job.id in {attempt.job_id for attempt in attempts}]
    device = "cpu" if shape.resources["gpus"] == 0 else None
    files = _Files(session, context)
    tasks = [
        _task(files, job, attempt, device=device) | {"lead_s": shape.lead_s}
        for job, attempt in zip(jobs, attempts, strict=True)
    ]
    order = Submission(
        runs=[context.run(attempt.job_id, attempt.number) for attempt in attempts],
        slurm_job_name=slurm_job_name,
        resources=shape.resources,
        exclude=shape.exclude,
        processes_per_node=max(1, shape.resources["gpus"] or 1),
        lead_s=shape.lead_s,
        at_once=at_once,
    )
    return Claimed(attempts, tasks, order)


@dataclass(frozen=True)
class _Shape:
    """What jobs must have in common to be submitted as one array."""

    resources: dict[str, Any]
    lead_s: int
    exclude: tuple[str, ...]


def _shapes(session: Session, context: WorkerContext, jobs: Sequence[Job]) -> list[_Shape]:
    tried = [job.id for job in jobs if job.attempt]
    failed = select(Attempt.job_id, Attempt.host).where(
        col(Attempt.job_id).in_(tried), Attempt.reason == Reason.hardware_fault, Attempt.host != ""
    )
    faulty: dict[str, set[str]] = {}
    for job_id, host in session.exec(failed):
        faulty.setdefault(job_id, set()).update(host.split(","))
    return [_shape(context, job, tuple(sorted(faulty.get(job.id, ())))) for job in jobs]


def _shape(context: WorkerContext, job: Job, exclude: tuple[str, ...]) -> _Shape:
    asked = job.spec["resources"]
    assert context.slurm is not None
    resources = asked | {
        "time_limit_min": asked["time_limit_min"] or context.settings.slurm_time_limit_min,
        "gpus": context.slurm.gpus(asked["slurm"]) if asked["gpus"] is None else asked["gpus"],
    }
    return _Shape(resources, lead_s(job.progress, resources["time_limit_min"]), exclude)


def lead_s(progress: dict[str, Any] | None, limit_min: int) -> int:
    """How long before the end Slurm is to send its signal: time for the step that is under way and two checkpoints.

    Two, because one may just be on its way to the disk. Never more than a third of the time that there is.
    """
    took_s = (progress or {}).get("checkpoint_s")
    wanted = FIRST_LEAD_S if took_s is None else LEAST_LEAD_S + math.ceil(3 * took_s)
    return min(wanted, 20 * limit_min)


def _live(sweep: str) -> SelectOfScalar[str]:
    query = select(Attempt.job_id).join(Job, col(Job.id) == col(Attempt.job_id))
    return query.where(Job.sweep == sweep, col(Attempt.ended_at).is_(None))


def _new_attempt(session: Session, job: Job, **columns: Any) -> Attempt | None:
    """Moves a job to starting with an attempt of its own; None where another worker was faster."""
    number, started = job.attempt + 1, job.started_at or now()
    claim = {"from_state": State.queued, "expected_attempt": job.attempt, "attempt": number, "started_at": started}
    if not transition(session, job.id, State.starting, **claim):  # type: ignore[arg-type]
        return None
    attempt = Attempt(job_id=job.id, number=number, started_at=now(), **columns)
    session.add(attempt)
    return attempt


def _task(files: _Files, job: Job, attempt: Attempt, device: str | None) -> dict[str, Any]:
    return {
        "job": job.id,
        "attempt": attempt.number,
        "spec": files.named(job.spec),
        "data_roots": [str(root) for root in files.context.settings.roots],
        "device": device,
    }


class _Files:
    """Names components by their files, which is all that a training process knows of; each is looked up once."""

    def __init__(self, session: Session, context: WorkerContext) -> None:
        self.context = context
        self._session = session
        self._paths: dict[tuple[str | None, str], str] = {}

    def named(self, value: Any) -> Any:
        """A copy of a specification, or of a part of one."""
        if isinstance(value, list):
            return [self.named(item) for item in value]
        if not isinstance(value, dict):
            return value
        replaced = {key: self.named(item) for key, item in value.items()}
        ref = replaced.get("from")
        if isinstance(ref, dict) and ref.get("component"):
            key = (ref.get("job"), ref["component"])
            if key not in self._paths:
                self._paths[key] = self._path(*key)
            replaced["from"] = {"path": self._paths[key]}
        return replaced

    def _path(self, job: str | None, component: str) -> str:
        query = select(Component).where(Component.id == component)
        if job is not None:
            query = select(Component).where(Component.job_id == job, Component.name == component)
        found = self._session.exec(query).first()
        folder = self.context.settings.runs_dir / (found.job_id if found else job or "gone") / "components"
        return str(folder / (found.files["pth"]["place"] if found else "missing"))
