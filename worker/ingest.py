"""From a run's event log to the database: each event once, whatever crashes on either side."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, delete, update
from sqlmodel import Session, col, select
from ulid import ULID

from app.db import serialize_events, transaction
from app.jobs.states import State, move
from app.metrics import store
from app.models import Attempt, Component, Event, Job

BLOCK_BYTES = 8 << 20
# Of what the metrics store has anyway a job keeps this many events for those who follow it late.
KEPT_EVENTS = 500


def ingest(engine: Engine, attempt: Attempt, file: Path) -> int:
    """Takes the next block of an attempt's event log, in one transaction with how far it was read; gives the bytes."""
    try:
        with file.open("rb") as log:
            log.seek(attempt.offset)
            block = log.read(BLOCK_BYTES)
    except FileNotFoundError:
        return 0
    block = block[: block.rfind(b"\n") + 1]
    if not block:
        return 0
    events = [json.loads(line) for line in block.splitlines()]
    with transaction(engine) as session:
        # Whoever else read this block first has moved the offset: then there is nothing to do.
        guarded = update(Attempt).where(
            col(Attempt.job_id) == attempt.job_id,
            col(Attempt.number) == attempt.number,
            col(Attempt.offset) == attempt.offset,
        )
        values = {"offset": attempt.offset + len(block), "seq": events[-1]["seq"]}
        if session.execute(guarded.values(**values)).rowcount == 1:  # type: ignore[attr-defined]
            _apply(session, attempt, [event for event in events if event["seq"] > attempt.seq])
    return len(block)


def _apply(session: Session, attempt: Attempt, events: list[dict[str, Any]]) -> None:
    job = session.get(Job, attempt.job_id)
    if job is None or job.attempt != attempt.number:
        return
    serialize_events(session)
    points: dict[str, list[tuple[int, float, float]]] = {}
    for event in events:
        kind, data, at = event["kind"], event["data"], datetime.fromisoformat(event["time"])
        if kind == "metrics":
            for key, value in data["values"].items():
                points.setdefault(key, []).append((data["step"], np.nan if value is None else value, at.timestamp()))
        elif kind == "state" and data["state"] == "running":
            _flush(session, job.id, points)
            store.truncate(session, job.id, data["step"])
            _begin(session, attempt, data["step"])
        elif kind == "progress":
            job.progress = {**data, "at": at.isoformat()}
        elif kind == "config":
            job.plan = data
        elif kind == "component":
            _keep_component(session, job.id, data)
        if kind in ("metrics", "progress", "log"):
            session.add(Event(job_id=job.id, time=at, type=kind, data=data))
        elif kind == "component":
            shown = {name: data[name] for name in ("name", "role", "epoch", "metrics", "selected_by")}
            session.add(Event(job_id=job.id, time=at, type="component", data=shown))
    _flush(session, job.id, points)


def _flush(session: Session, job_id: str, points: dict[str, list[tuple[int, float, float]]]) -> None:
    blocks = {}
    for key, rows in points.items():
        # Within a block too, a step that was done again counts once, as it was done last.
        steps, values, times = (np.array(column) for column in zip(*rows, strict=True))
        _, first = np.unique(steps[::-1], return_index=True)
        kept = len(steps) - 1 - first
        blocks[key] = store.Block(steps[kept].astype(np.int64), values[kept].astype(float), times[kept].astype(float))
    store.append(session, job_id, blocks)
    points.clear()


def _begin(session: Session, attempt: Attempt, step: int) -> None:
    """The first step is about to be done: the job runs."""
    where = update(Attempt).where(col(Attempt.job_id) == attempt.job_id, col(Attempt.number) == attempt.number)
    session.execute(where.values(resumed_from_step=step))
    move(session, attempt.job_id, State.running, of_attempt=attempt.number, origin=State.starting)


def _keep_component(session: Session, job_id: str, manifest: dict[str, Any]) -> None:
    query = select(Component).where(Component.job_id == job_id, Component.name == manifest["name"])
    row = session.exec(query).first()
    names = ("role", "epoch", "metrics", "selected_by", "config", "files")
    values = {name: manifest[name] for name in names} | {"created_at": datetime.fromisoformat(manifest["created_at"])}
    if row is None:
        session.add(Component(id=f"cmp_{ULID()}", job_id=job_id, name=manifest["name"], **values))
        # What follows in this block may be the same component, better.
        session.flush()
    else:
        row.sqlmodel_update(values)


def prune(session: Session, job_id: str) -> None:
    """Drops all but the newest of a job's events that say what the metrics store has."""
    often = col(Event.type).in_(("metrics", "progress"))
    kept = select(Event.id).where(Event.job_id == job_id, often).order_by(col(Event.id).desc())
    oldest = session.exec(kept.offset(KEPT_EVENTS).limit(1)).first()
    if oldest is not None:
        session.execute(delete(Event).where(col(Event.job_id) == job_id, often, col(Event.id) <= oldest))
