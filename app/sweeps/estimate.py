"""What jobs may cost, by what jobs like them have taken here."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from sqlmodel import Session, col, select

from app.models import Attempt, Job, State

# As many of the newest jobs that have succeeded are looked at.
LOOKED_AT = 200


def estimate(session: Session, specs: list[dict[str, Any]]) -> dict[str, Any]:
    """Device hours of jobs with these resolved specifications: an epoch is taken to last as long as in jobs like them.

    Alike are jobs of one kind with the same experts on the same data set. Null where one of them has none like it.
    """
    if not specs:
        return _answer(0.0, 0, "every point has been trained or is being trained: nothing is new")
    wanted = {_likeness(spec) for spec in specs}
    hours, devices = _hours_an_epoch(session, wanted)
    unknown = sum(_likeness(spec) not in hours for spec in specs)
    if unknown:
        why = "no job of the same kind with the same experts on the same data set has succeeded here for"
        return _answer(None, 0, f"{why} {unknown} of {len(specs)} new points: train one of them first to know")
    means = {likeness: statistics.fmean(known) for likeness, known in hours.items()}
    total = sum(means[_likeness(spec)] * spec["training"]["epochs"] for spec in specs)
    based_on = sum(map(len, hours.values()))
    why = f"by what an epoch took in {based_on} jobs of the same kind, experts and data set"
    return _answer(round(total, 4), based_on, f"{why}, on devices {', '.join(devices)}")


def _answer(gpu_hours: float | None, based_on: int, why: str) -> dict[str, Any]:
    return {"gpu_hours": gpu_hours, "based_on": based_on, "why": why}


def _likeness(spec: Mapping[str, Any]) -> str:
    """What jobs have in common that take about as long for an epoch."""
    experts = spec["experts"] if "experts" in spec else [spec["expert"]]
    return json.dumps([spec["kind"], spec["dataset"]["name"], [expert["arch"] or expert["from"] for expert in experts]])


def _hours_an_epoch(session: Session, wanted: Iterable[str]) -> tuple[dict[str, list[float]], list[str]]:
    """Of the newest jobs like the wanted ones the device hours an epoch; and on which devices."""
    query = select(Job.id, Job.spec).where(Job.state == State.succeeded).order_by(col(Job.id).desc())
    specs = {job_id: spec for job_id, spec in session.exec(query.limit(LOOKED_AT)) if _likeness(spec) in wanted}
    seconds: dict[str, float] = {}
    devices: set[str] = set()
    for attempt in session.exec(select(Attempt).where(col(Attempt.job_id).in_(specs))):
        if attempt.ended_at is not None:
            took = (attempt.ended_at - attempt.started_at).total_seconds() * len(attempt.devices)
            seconds[attempt.job_id] = seconds.get(attempt.job_id, 0.0) + took
            devices.update(attempt.devices)
    hours: dict[str, list[float]] = {}
    for job_id, took in seconds.items():
        spec = specs[job_id]
        hours.setdefault(_likeness(spec), []).append(took / 3600 / spec["training"]["epochs"])
    return hours, sorted(devices)
