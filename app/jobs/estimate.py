"""Estimates the cost of new jobs from similar jobs that have succeeded here."""

from __future__ import annotations

import json
import statistics
from collections.abc import Collection, Mapping
from typing import Any

from sqlmodel import Session

from app.jobs import estimate_queries as queries
from app.jobs.schemas import Estimate
from app.jobs.wording import count

# The number of most recently created succeeded jobs that an estimate considers.
NUM_RECENT_JOBS = 200


def estimate(
    session: Session, specs: list[dict[str, Any]], *, points: int | None = None, controls: int = 0
) -> Estimate:
    """Device hours of jobs with these resolved specifications, from the time per epoch of similar jobs.

    Similar jobs have the same kind, experts and data set, and ran on the service's own machines. Without a similar job
    for each specification the estimate is null. `points` is how many of them are points of a sweep, null for a single
    job; `controls` how many are controls of these.
    """
    if not specs:
        return Estimate(gpu_hours=0.0, based_on=0, why="no new jobs: every point has a job already")
    hours, devices = _hours_per_epoch(session, {_cost_key(spec) for spec in specs})
    unknown = sum(_cost_key(spec) not in hours for spec in specs)
    if unknown:
        why = (
            "no job of the same kind with the same experts and data set has succeeded on the service's own machines yet"
        )
        if points is None and controls:
            why += (
                f" for {unknown} of {len(specs)}, this job and its {count(controls, 'control')}: train one there first"
            )
        elif points is not None:
            jobs = f"{points + controls} new points and controls" if controls else f"{points} new points"
            why += f" for {unknown} of {jobs}: train one of them there first"
        return Estimate(gpu_hours=None, based_on=0, why=why)
    means = {key: statistics.fmean(known) for key, known in hours.items()}
    total = sum(means[_cost_key(spec)] * _epochs(spec) for spec in specs)
    based_on = sum(map(len, hours.values()))
    why = (
        f"from the time per epoch of {count(based_on, 'job')} of the same kind, experts and data set, "
        f"on devices {', '.join(devices)}"
    )
    if points is None and controls:
        why += f"; this includes {count(controls, 'control')}, of which those cost nothing that exist already"
    return Estimate(gpu_hours=round(total, 4), based_on=based_on, why=why)


def _cost_key(spec: Mapping[str, Any]) -> str:
    """The fields that determine roughly how long an epoch takes."""
    experts = spec["experts"] if "experts" in spec else [spec["expert"]]
    return json.dumps([spec["kind"], spec["dataset"]["name"], [expert["arch"] or expert["from"] for expert in experts]])


def _epochs(spec: Mapping[str, Any]) -> int:
    """The epochs of a job; 1 if a component decides them, which is then the same for all jobs that start from it."""
    return int(spec["training"]["epochs"] or 1)


def _hours_per_epoch(session: Session, keys: Collection[str]) -> tuple[dict[str, list[float]], list[str]]:
    """Device hours per epoch of recent jobs on leased devices, by cost key, and the devices that they used."""
    recent = queries.newest_succeeded(session, NUM_RECENT_JOBS)
    specs = {job_id: spec for job_id, spec in recent if _cost_key(spec) in keys}
    attempts = queries.attempts_of(session, specs)
    # The service leases no devices for Slurm jobs, and their time includes the wait in Slurm's queue.
    on_slurm = {attempt.job_id for attempt in attempts if not attempt.devices}
    seconds: dict[str, float] = {}
    devices: set[str] = set()
    for attempt in attempts:
        if attempt.ended_at is not None and attempt.job_id not in on_slurm:
            device_s = (attempt.ended_at - attempt.started_at).total_seconds() * len(attempt.devices)
            seconds[attempt.job_id] = seconds.get(attempt.job_id, 0.0) + device_s
            devices.update(attempt.devices)
    hours: dict[str, list[float]] = {}
    for job_id, device_s in seconds.items():
        spec = specs[job_id]
        hours.setdefault(_cost_key(spec), []).append(device_s / 3600 / _epochs(spec))
    return hours, sorted(devices)
