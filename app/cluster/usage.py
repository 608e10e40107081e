"""What each owner has used: in the last days, and in a calendar month."""

from __future__ import annotations

from datetime import timedelta

from sqlmodel import Session

from app.cluster import queries
from app.cluster.schemas import MonthUsage, OwnerMonth, OwnerUsage, Usage
from app.db import iso, now
from app.jobs import usage_queries
from app.jobs.device_time import (
    DeviceSeconds,
    bounds,
    device_start,
    month_of,
    requested_devices,
    seconds_in,
    sum_of,
)
from app.jobs.quotas import device_time_in_month
from app.models import State


def usage(session: Session, days: int) -> Usage:
    """The device-hours of attempts in the last `days` days, the largest share first; running ones count up to now."""
    end = now()
    start = end - timedelta(days=days)
    hours: dict[str, float] = {}
    jobs: dict[str, list[str]] = {}
    for row in queries.attempts_since(session, start):
        begin = device_start(row.executor, row.started_at, row.running_at)
        if begin is not None:
            devices = row.num_devices or requested_devices(row.resources or {})
            attempt_hours = devices * seconds_in(begin, row.ended_at or end, start) / 3600
            hours[row.owner] = hours.get(row.owner, 0.0) + attempt_hours
        jobs.setdefault(row.owner, []).append(row.job_id)
    items = [
        OwnerUsage(owner=owner, device_hours=hours.get(owner, 0.0), attempts=len(ids), jobs=len(set(ids)))
        for owner, ids in jobs.items()
    ]
    items.sort(key=lambda owner: (-owner.device_hours, owner.owner))
    total = sum(owner.device_hours for owner in items)
    return Usage(days=days, since=iso(start) or "", device_hours=total, owners=items)


def month_usage(session: Session, month: str | None = None) -> MonthUsage:
    """The usage of a month, by default of the current one; running attempts count up to now."""
    at = now()
    month = month or month_of(at)
    times = device_time_in_month(session, month, at)
    running, sizes = usage_queries.count_running(session), usage_queries.stored_bytes(session)
    jobs: dict[str, dict[str, int]] = {}
    for owner, state, number in usage_queries.count_created(session, *bounds(month)):
        jobs.setdefault(owner, {})[state] = number
    rows = []
    for owner in {*times, *running, *sizes, *jobs}:
        used, states = times.get(owner, DeviceSeconds()), jobs.get(owner, {})
        rows.append(
            OwnerMonth(
                owner=owner,
                device_hours=used.hours,
                gpu_hours=used.gpu / 3600,
                cpu_hours=used.cpu / 3600,
                jobs=sum(states.values()),
                succeeded=states.get(State.succeeded.value, 0),
                failed=states.get(State.failed.value, 0),
                running=running.get(owner, 0),
                stored_bytes=sizes.get(owner, 0),
            )
        )
    rows.sort(key=lambda row: (-row.device_hours, row.owner))
    total = sum_of(times.values())
    return MonthUsage(
        month=month,
        device_hours=total.hours,
        gpu_hours=total.gpu / 3600,
        cpu_hours=total.cpu / 3600,
        owners=rows,
    )
