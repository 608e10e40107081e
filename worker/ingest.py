"""From a run's event log to the database: each event once, whichever side crashes."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, delete, update
from sqlmodel import Session, col, select
from ulid import ULID

from app.db import now, transaction
from app.jobs.alert_queries import ALERT, NewAlerts
from app.jobs.disk_space import disk_usage
from app.jobs.event_queries import record_events
from app.jobs.queries import locked_job
from app.jobs.transitions import transition
from app.models import Attempt, Component, Event, Job, State
from app.results.metrics import store
from app.results.metrics.queries import best_value
from app.results.metrics.scores import accuracy_key
from core.run.identity import RunIdentity
from worker.timings import Timings

log = logging.getLogger(__name__)
BLOCK_BYTES = 8 << 20
# Events whose content is in the metrics store too. A job keeps only the newest of them.
FREQUENT_EVENTS = ("metrics", "progress")
KEPT_EVENTS = 500


def ingest(engine: Engine, attempt: Attempt, file: Path, timings: Timings | None = None) -> int:
    """Stores the next block of an attempt's event log and the new offset in one transaction; returns its bytes."""
    try:
        with file.open("rb") as source:
            source.seek(attempt.offset)
            block = source.read(BLOCK_BYTES)
    except FileNotFoundError:
        return 0
    block = block[: block.rfind(b"\n") + 1]
    if not block:
        return 0
    events = _parse(block, file)
    if timings is not None and events:
        timings.record_lag((now() - datetime.fromisoformat(events[0]["time"])).total_seconds())
    # Before the transaction, for which every other writer may have to wait.
    size_bytes = disk_usage(file.parents[1]) if any(event["kind"] == "checkpoint" for event in events) else None
    with transaction(engine) as session:
        job = locked_job(session, attempt.job_id)
        # If another worker has stored this block already, it has moved the offset, and there is nothing to do.
        guarded = update(Attempt).where(
            col(Attempt.job_id) == attempt.job_id,
            col(Attempt.number) == attempt.number,
            col(Attempt.offset) == attempt.offset,
        )
        values: dict[str, Any] = {"offset": attempt.offset + len(block)}
        if events:
            values |= {"seq": events[-1]["seq"], "reported_at": datetime.fromisoformat(events[-1]["time"])}
        if session.execute(guarded.values(**values)).rowcount == 1:  # type: ignore[attr-defined]
            _apply(session, job, attempt, [event for event in events if event["seq"] > attempt.seq])
            if job is not None and size_bytes is not None:
                job.size_bytes = size_bytes
    return len(block)


def _parse(block: bytes, file: Path) -> list[dict[str, Any]]:
    """The events of a block. A damaged line, which a full disk or a power cut may leave, must not hold up the rest."""
    events: list[dict[str, Any]] = []
    for line in block.splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            log.warning("%s: skipped a damaged line of %d bytes", file, len(line))
    return events


def _apply(session: Session, job: Job | None, attempt: Attempt, events: list[dict[str, Any]]) -> None:
    if job is None or job.attempt != attempt.number:
        return
    points, alerts = _PointBuffer(), NewAlerts(session, job.id)
    rows: list[dict[str, Any]] = []
    for event in events:
        kind, data, at = event["kind"], event["data"], datetime.fromisoformat(event["time"])
        if kind == "metrics":
            points.add(data["step"], data["values"], at.timestamp())
        elif kind == "state" and data["state"] == "running":
            store.append(session, job.id, points.drain())
            store.truncate(session, job.id, data["step"])
            _begin(session, attempt, data["step"], at)
        elif kind == "progress":
            job.progress = {**data, "at": at.isoformat()}
        elif kind == "config":
            job.plan = data
        elif kind == ALERT:
            if (new := alerts.admit(data)) is None:
                continue
            data = new
        elif kind == "component":
            if not _keep_component(session, job, data):
                continue
            data = {name: data[name] for name in ("name", "role", "epoch", "metrics", "selected_by")}
        elif kind == "identity":
            _keep_identity(session, job, attempt, data)
        if kind in (*FREQUENT_EVENTS, ALERT, "log", "component"):
            rows.append({"job_id": job.id, "time": at, "type": kind, "data": data})
    store.append(session, job.id, points.drain())
    # Also after a truncation: the best value may have been among the steps that are done again.
    job.score = best_value(session, job.id, accuracy_key(job.kind))
    _raise_steps(
        session,
        attempt,
        last_step=max(_steps(events, FREQUENT_EVENTS), default=None),
        checkpoint_step=max(_steps(events, ("checkpoint",)), default=None),
    )
    # A long block is read after an interruption: nobody needs each of its frequent events.
    dropped = set([k for k, row in enumerate(rows) if row["type"] in FREQUENT_EVENTS][:-KEPT_EVENTS])
    record_events(session, [row for k, row in enumerate(rows) if k not in dropped])


class _PointBuffer:
    """Collects the points of events; events with the same keys become one array."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, ...], tuple[list[int], list[float], list[list[float | None]]]] = {}

    def add(self, step: int, values: dict[str, float | None], time: float) -> None:
        steps, times, rows = self._lines.setdefault(tuple(values), ([], [], []))
        steps.append(step)
        times.append(time)
        rows.append(list(values.values()))

    def drain(self) -> dict[str, store.Block]:
        """Empties the buffer; returns a block for each key, by step. Of a repeated step, the last value counts."""
        blocks: dict[str, store.Block] = {}
        for keys, (steps, times, rows) in self._lines.items():
            # null, which stands for a number that is not finite, becomes NaN here.
            columns = np.array(rows, dtype=float).T
            for key, values in zip(keys, columns, strict=True):
                block = store.Block(np.array(steps, dtype=np.int64), values, np.array(times))
                blocks[key] = blocks[key].joined(block) if key in blocks else block
        self._lines.clear()
        return {key: _in_order(block) for key, block in blocks.items()}


def _in_order(block: store.Block) -> store.Block:
    if (np.diff(block.steps) > 0).all():
        return block
    _, first = np.unique(block.steps[::-1], return_index=True)
    return block.rows(len(block.steps) - 1 - first)


def _begin(session: Session, attempt: Attempt, step: int, at: datetime) -> None:
    """Records that the first step is about to be done: the job is running."""
    where = update(Attempt).where(col(Attempt.job_id) == attempt.job_id, col(Attempt.number) == attempt.number)
    session.execute(where.values(resumed_from_step=step, running_at=at))
    transition(session, attempt.job_id, State.running, expected_attempt=attempt.number, from_state=State.starting)


def _steps(events: list[dict[str, Any]], kinds: Sequence[str]) -> list[int]:
    """The steps that events of these kinds name."""
    steps = [event["data"].get("step") for event in events if event["kind"] in kinds]
    return [step for step in steps if step is not None]


def _raise_steps(session: Session, attempt: Attempt, **steps: int | None) -> None:
    """Raises columns of the attempt to these steps; None, and what would lower a column, changes nothing."""
    for name, step in steps.items():
        if step is None:
            continue
        column = col(getattr(Attempt, name))
        lower = column.is_(None) | (column < step)
        where = (col(Attempt.job_id) == attempt.job_id, col(Attempt.number) == attempt.number, lower)
        session.execute(update(Attempt).where(*where).values({name: step}))


def _keep_identity(session: Session, job: Job, attempt: Attempt, data: dict[str, Any]) -> None:
    """Records where an attempt runs, and of the job what its result will be computed from."""
    where = update(Attempt).where(col(Attempt.job_id) == attempt.job_id, col(Attempt.number) == attempt.number)
    session.execute(where.values(identity=data))
    run = RunIdentity.from_json(data["run"])
    job.data_sha256 = run.data["sha256"] if run.data else None
    environments = {(env.software.key, env.device.key) for env in run.environments}
    # A result to which several environments contributed is not the result of any of them.
    is_uniform = run.complete and not run.data_changed and len(environments) == 1
    job.software_key, job.device_key = environments.pop() if is_uniform else (None, None)


def _keep_component(session: Session, job: Job, manifest: dict[str, Any]) -> bool:
    """Whether this is news: an attempt that goes on reports the saved components again."""
    query = select(Component).where(Component.job_id == job.id, Component.name == manifest["name"])
    row = session.exec(query).first()
    names = ("role", "epoch", "metrics", "selected_by", "config", "files")
    values = {name: manifest[name] for name in names} | {
        "created_at": datetime.fromisoformat(manifest["created_at"]),
        "score": manifest["metrics"].get(manifest["selected_by"]),
        "arch": manifest["config"].get("arch"),
        "dataset": job.spec["dataset"]["name"],
    }
    if row is None:
        session.add(Component(id=f"cmp_{ULID()}", job_id=job.id, name=manifest["name"], **values))
        # A better version of the same component may follow in this block.
        session.flush()
    elif (row.epoch, row.files) == (manifest["epoch"], manifest["files"]):
        return False
    else:
        row.sqlmodel_update(values)
    return True


def prune(session: Session, job_id: str) -> None:
    """Deletes all but the newest `KEPT_EVENTS` of a job's frequent events."""
    is_frequent = col(Event.type).in_(FREQUENT_EVENTS)
    kept = select(Event.id).where(Event.job_id == job_id, is_frequent).order_by(col(Event.id).desc())
    oldest = session.exec(kept.offset(KEPT_EVENTS).limit(1)).first()
    if oldest is not None:
        session.execute(delete(Event).where(col(Event.job_id) == job_id, is_frequent, col(Event.id) <= oldest))
