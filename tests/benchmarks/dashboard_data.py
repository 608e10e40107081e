"""The data of a service that has been used for months: many jobs, a long one, a large sweep, jobs to compare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, select
from ulid import ULID

from app.auth.principals import Principal
from app.auth.service import ensure_admin
from app.auth.sessions import open_session
from app.db import make_engine, now, transaction, upgrade
from app.jobs import drafts, service
from app.jobs.validation import parse_job
from app.models import (
    Attempt,
    Component,
    Dependency,
    Event,
    Job,
    Lease,
    Role,
    State,
    Sweep,
    SweepPoint,
    Token,
    Worker,
)  # fmt: skip
from app.settings import Settings
from app.sweeps import grid
from app.sweeps import service as sweeps
from app.sweeps.placement import plan
from app.sweeps.validation import parse_sweep
from core.run.rundir import RunDir
from tests.benchmarks import dashboard_report
from tests.benchmarks.stored import fill_series, insert_jobs, insert_rows
from tests.e2e.running import expert, fusion

NUM_JOBS = 100_000
NUM_COMPARED = 20
# A thousand jobs were created each day.
DAYS = 100
NUM_EXPERTS = 8
# 20 metrics of half a million points are 10 million points.
LONG_KEYS = (
    *(f"val/accuracy_{path}" for path in ("fused", "ensemble", "oracle")),
    *(f"val/accuracy_expert_{k}" for k in range(NUM_EXPERTS)),
    *("val/loss_global", "train/loss_total", "train/loss_global", "train/loss_individual"),
    *("lr/experts", "lr/fusion", "grad_norm/experts", "throughput/images_per_s", "system/rss_gb"),
)
LONG_POINTS = 500_000
NOISE = 0.1
COMPARED_KEYS = ("train/loss_total", "throughput/images_per_s")
COMPARED_POINTS = 50_000
VALIDATION_KEYS = ("val/accuracy_fused", "val/accuracy_expert_0", "val/loss_global")
GRID: dict[str, list[Any]] = {
    "training.components.experts.lr": [round(0.01 * k, 2) for k in range(1, 11)],
    "training.batch_size": [8 * k for k in range(1, 11)],
    "training.seed": list(range(10)),
}
NUM_SWEEPS, POINTS_OF_SMALL_SWEEPS = 100, 100
NUM_HOSTS, DEVICES_PER_HOST = 4, 8
LOG_LINES = 200_000
# How many of a hundred jobs are in each state.
STATES = {
    State.succeeded: 80, State.failed: 10, State.queued: 5, State.cancelled: 3, State.waiting: 1, State.paused: 1,
}  # fmt: skip
_HUNDRED = [state for state, number in STATES.items() for _ in range(number)]
_FILE = {"file": "expert_0", "name": "expert_0.pth", "bytes": 400_000, "sha256": "0" * 64}
_PROGRESS = {"epoch": 1, "epochs": 2, "step": 310, "steps": 620, "images_per_s": 412.0, "eta_s": 130.0}


@dataclass(frozen=True)
class Data:
    """What the addresses of pages need, and the secret of a session."""

    long_job: str
    reported: str
    compared: list[str]
    sweep: str
    session: str


def fill(settings: Settings) -> Data:
    """Creates a database, in which nothing changes any more, and the files of the long job."""
    settings.make_folders()
    upgrade(settings.sqlalchemy_url)
    engine = make_engine(settings.sqlalchemy_url)
    with transaction(engine) as session:
        ensure_admin(session, settings.data_dir / "admin-token")
        token = session.exec(select(Token)).one()
        admin, secret = Principal(token.id, token.owner, Role.admin), open_session(session, token.id)
    long_job = _long_job(engine, settings, admin)
    _old_jobs(engine, settings, long_job)
    reported = dashboard_report.job_with_report(engine, settings, admin)
    compared = _compared_jobs(engine, settings, admin)
    sweep = _sweeps(engine, settings, admin)
    _workers(engine, sweep)
    # The last connection to close empties the write-ahead log into the database.
    engine.dispose()
    return Data(long_job, reported, compared, sweep, secret)


def _submit(session: Session, settings: Settings, admin: Principal, spec: dict[str, Any], name: str) -> str:
    return service.submit(session, settings, admin, parse_job(settings, spec | {"name": name}))[0].id


def _set(session: Session, job_id: str, **columns: Any) -> None:
    job = session.get(Job, job_id)
    assert job is not None
    for column, value in columns.items():
        setattr(job, column, value)


def _long_job(engine: Engine, settings: Settings, admin: Principal) -> str:
    """A job that runs since days in its third attempt, with a long log and all its components."""
    at = now()
    spec = fusion() | {"num_experts": NUM_EXPERTS}
    spec["dataset"] = {"name": "digits", "split": {"regime": "iid", "num_shards": NUM_EXPERTS, "seed": 1}}
    with transaction(engine) as session:
        job_id = _submit(session, settings, admin, spec, "ten million points")
        _set(session, job_id, state=State.running, attempt=3, started_at=at - timedelta(days=3), progress=_PROGRESS)
        for number in (1, 2, 3):
            began = at - timedelta(days=4 - number)
            session.add(
                Attempt(
                    job_id=job_id, number=number, executor="local", host="node-0", devices=["0"], started_at=began,
                    ended_at=None if number == 3 else began + timedelta(hours=23), last_step=150_000 * number,
                    resumed_from_step=140_000 * (number - 1), reason=None if number == 3 else "preempted",
                )
            )  # fmt: skip
            for state in ("queued", "starting", "running"):
                data = {"state": state, "reason": None, "message": None}
                session.add(Event(job_id=job_id, time=began, type="state", data=data))
        for number in range(1_000):
            data = {"level": "warning", "message": f"reading shard {number} took long"}
            session.add(Event(job_id=job_id, time=at, type="log", data=data))
    names = [*(f"expert_{k}" for k in range(NUM_EXPERTS)), "fusion", "head", "complete"]
    insert_rows(engine, Component, [_component(job_id, name, 0.97, at) for name in names])
    fill_series(engine, job_id, LONG_KEYS, LONG_POINTS, NOISE)
    log = RunDir(settings.runs_dir / job_id).attempt(3).log
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"step {k} loss {1 / (k + 1):.6f} 412 images/s\n" for k in range(LOG_LINES)))
    return job_id


def _component(job_id: str, name: str, score: float, at: datetime) -> dict[str, Any]:
    metric = "val/accuracy_expert_0"
    return {
        "id": f"cmp_{ULID.from_datetime(at)}", "job_id": job_id, "name": name, "role": name.partition("_")[0],
        "epoch": 2, "metrics": {metric: score}, "selected_by": metric, "config": {}, "score": score,
        "files": {"pth": _FILE, "safetensors": _FILE}, "arch": "convnet_small", "dataset": "digits", "created_at": at,
    }  # fmt: skip


def _old_jobs(engine: Engine, settings: Settings, long_job: str) -> None:
    """All jobs but those of the other functions, with an attempt and a component each where they have ended."""
    rows = list(
        _old_rows(settings, NUM_JOBS - 1 - dashboard_report.NUM_JOBS - NUM_COMPARED - len(list(grid.points(GRID))))
    )
    insert_jobs(engine, rows)
    ended = [row for row in rows if row["attempt"]]
    insert_rows(
        engine,
        Attempt,
        [
            {
                "job_id": row["id"], "number": 1, "executor": "local", "host": "node-0", "devices": ["0"], "offset": 0,
                "seq": 0, "started_at": row["started_at"], "ended_at": row["finished_at"],
                "outcome": row["state"].value,
            }
            for row in ended
        ],
    )  # fmt: skip
    scored = [row for row in rows if row["score"] is not None]
    insert_rows(
        engine, Component, [_component(row["id"], "expert_0", row["score"], row["finished_at"]) for row in scored]
    )
    waiting = [{"job_id": row["id"], "depends_on": long_job} for row in rows if row["state"] == State.waiting]
    insert_rows(engine, Dependency, waiting)


def _old_rows(settings: Settings, count: int) -> Iterator[dict[str, Any]]:
    columns = drafts.job_columns(parse_job(settings, expert())) | {"digest": None}
    first = now() - timedelta(days=DAYS)
    for number in range(count):
        state = _HUNDRED[37 * number % 100]
        at = first + timedelta(days=DAYS * number / count)
        has_run = state not in (State.queued, State.waiting)
        yield columns | {
            "id": f"job_{ULID.from_datetime(at)}",
            "name": f"digits {number}",
            "state": state,
            "owner": f"user-{number % 10}",
            "attempt": int(has_run),
            "created_at": at,
            "started_at": at if has_run else None,
            "finished_at": at + timedelta(minutes=20) if has_run else None,
            "progress": _PROGRESS if has_run else None,
            "score": 0.9 * (7 * number % count) / count if state == State.succeeded else None,
        }


def _compared_jobs(engine: Engine, settings: Settings, admin: Principal) -> list[str]:
    jobs = []
    for number in range(NUM_COMPARED):
        with transaction(engine) as session:
            spec = fusion(seed=number, batch_size=8 + number)
            jobs.append(_submit(session, settings, admin, spec, f"comparison {number}"))
            _set(session, jobs[-1], state=State.succeeded, attempt=1, progress=_PROGRESS)
        fill_series(engine, jobs[-1], COMPARED_KEYS, COMPARED_POINTS, NOISE)
        fill_series(engine, jobs[-1], [*VALIDATION_KEYS, "test/accuracy_fused", "test/nll"], 60, NOISE)
    return jobs


def _sweeps(engine: Engine, settings: Settings, admin: Principal) -> str:
    """A sweep whose jobs are the newest and the best of all, and smaller ones that reuse its jobs."""
    new = parse_sweep({"name": "a large sweep", "base": expert(), "grid": GRID})
    planned = plan(settings, new.name, new.base, new.grid, list(grid.points(new.grid)))
    with transaction(engine) as session:
        sweep, _ = sweeps.create(session, settings, admin, new, planned)
        points = session.exec(select(SweepPoint).where(SweepPoint.sweep_id == sweep.id)).all()
        for point in points:
            is_running = point.number >= len(points) - NUM_HOSTS * DEVICES_PER_HOST
            state = State.running if is_running else State.succeeded
            score = 0.9 + point.number / len(points) / 10
            _set(session, str(point.job_id), state=state, attempt=1, progress=_PROGRESS, score=score)
        copied = sweep.model_dump(exclude={"id", "name"})
        for number in range(NUM_SWEEPS - 1):
            small = Sweep(id=f"swp_{ULID()}", name=f"sweep {number}", **copied)
            session.add(small)
            session.flush()
            for point in points[:POINTS_OF_SMALL_SWEEPS]:
                row = point.model_dump(exclude={"sweep_id", "reused"})
                session.add(SweepPoint(sweep_id=small.id, reused=True, **row))
        sweep_id, jobs = sweep.id, [str(point.job_id) for point in points]
    for job_id in jobs:
        fill_series(engine, job_id, ["val/accuracy_expert_0", "val/loss_expert_0", "train/loss_total"], 60, NOISE)
    return sweep_id


def _workers(engine: Engine, sweep: str) -> None:
    """Hosts whose devices all hold a running job; their heartbeats stay recent."""
    with transaction(engine) as session:
        running = iter(session.exec(select(Job.id).where(Job.sweep == sweep, Job.state == State.running)).all())
        for number in range(NUM_HOSTS):
            host, devices = f"node-{number}", [str(device) for device in range(DEVICES_PER_HOST)]
            session.add(Worker(host=host, devices=devices, cpus=64, memory_gb=512.0, seen_at=now() + timedelta(days=1)))
            for device in devices:
                session.add(Lease(host=host, device=device, job_id=next(running), attempt=1))
